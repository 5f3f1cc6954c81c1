"""What is done to proofs behind a service's back, for the controls: a ledger must report each of it."""

from __future__ import annotations

import requests

from ledger import Findings, Ledger
from s3 import Bucket
from service import Service


def sabotage(service: Service, ledger: Ledger, buckets: list[Bucket], prefix: str) -> Findings:
    """Breaks promises of its own in all buckets; gives what a check must find then, and nothing else."""
    keys = [f"sabotage/{what}.c2pa" for what in ("lost", "altered", "returned", "revived")]
    lost, altered, returned, revived = keys
    for key in keys:
        body = f"the bytes of {key}".encode()
        assert requests.put(_url(service, key), data=body, timeout=60).status_code == 201
        ledger.stored(key, body)
    backups = [bucket.taken(prefix + returned) for bucket in buckets]
    for key in (returned, revived):
        assert requests.delete(_url(service, key), timeout=60).status_code == 204
        ledger.deleted(key)
    for bucket, backup in zip(buckets, backups, strict=True):
        bucket.client().delete_object(Bucket=bucket.name, Key=prefix + lost)
        bucket.put(prefix + altered, {"Body": b"something else"})
        # As it was, with the version that it had; and as anybody would.
        bucket.put(prefix + returned, backup)
        bucket.put(prefix + revived, {"Body": b"deleted long ago"})
    return Findings([lost], [altered], [returned, revived])


def _url(service: Service, key: str) -> str:
    return f"{service.url}/v1/proofs/{key}"
