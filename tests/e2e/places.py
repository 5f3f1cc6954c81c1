"""A service over a bucket of a real S3 server, for the tests that run over several of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from s3 import Bucket
from service import Service


@dataclass
class Place:
    """Where the proofs of a service are, and what the server there has of its own."""

    name: str
    bucket: Bucket
    service: Service
    #: What this server can do that others cannot.
    features: set[str] = field(default_factory=set)

    def url(self, key: str) -> str:
        return f"{self.service.url}/v1/proofs/{key}"

    def post(self, path: str, **body: Any) -> requests.Response:
        return requests.post(f"{self.service.url}/v1/{path}", json=body, timeout=60)

    def object(self, key: str) -> dict[str, Any]:
        """What boto3 gets."""
        return self.bucket.client().get_object(Bucket=self.bucket.name, Key=f"proofs/{key}")


def examined(place: Place) -> Place:
    """Once the service knows what the server can do, and has counted it: both in the background."""
    poll(lambda: "feature=\"presigned-head\"" in place.service.log_text())
    poll(lambda: requests.get(f"{place.service.url}/v1/stats", timeout=60).status_code == 200)
    return place


def poll(condition: Callable[[], Any], attempts: int = 300) -> Any:
    """Waits until something holds, and gives it."""
    for _ in range(attempts):
        if found := condition():
            return found
        threading.Event().wait(0.1)
    raise AssertionError("it never came to hold")
