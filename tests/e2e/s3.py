"""A bucket on a real S3 server: how boto3 reaches it, and how the service is told to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config


@dataclass(frozen=True)
class Bucket:
    """Where it is, and as whom."""

    endpoint: str
    region: str
    name: str
    key_id: str
    secret: str

    def client(self) -> Any:
        """boto3, the client that everybody else uses."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    def names(self, prefix: str) -> set[str]:
        """Of all objects below it."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {item["Key"] for page in pages for item in page.get("Contents", [])}

    def taken(self, name: str) -> dict[str, Any]:
        """An object as `put` puts it back: its bytes, and what is kept beside them."""
        found = self.client().get_object(Bucket=self.name, Key=name)
        beside = ("Metadata", "ContentType", "ContentEncoding", "CacheControl")
        return {"Body": found["Body"].read()} | {field: found[field] for field in beside if field in found}

    def put(self, name: str, taken: dict[str, Any]) -> None:
        """Past every service."""
        self.client().put_object(Bucket=self.name, Key=name, **taken)

    def settings(self) -> dict[str, str]:
        """For a service that keeps its proofs here."""
        return {
            "STORAGE_PROVIDER": "s3",
            "STORAGE_ENDPOINT": self.endpoint,
            "STORAGE_REGION": self.region,
            "STORAGE_BUCKET": self.name,
            "STORAGE_ACCESS_KEY_ID": self.key_id,
            "STORAGE_SECRET_ACCESS_KEY": self.secret,
        }
