"""`fake-s3/` as a process: a simulation of AWS S3, R2 or Garage, in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from s3 import Bucket
from service import binary

PERSONALITIES = ("aws", "r2", "garage")


@contextmanager
def fake(personality: str, *options: str) -> Iterator[Bucket]:
    """The process, which says how it is reached."""
    command = [binary().parent / "fake-s3", "--personality", personality, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = dict(process.stdout.readline().split() for _ in range(5))
        names = ("endpoint", "region", "bucket", "access-key", "secret-key")
        yield Bucket(*(said[name] for name in names))
    finally:
        process.kill()
        process.wait()


def of_r2(bucket: Bucket) -> dict[str, str]:
    """For a service that takes it for R2."""
    return {
        "STORAGE_PROVIDER": "r2",
        "R2_ENDPOINT": bucket.endpoint,
        "R2_BUCKET": bucket.name,
        "R2_ACCESS_KEY_ID": bucket.key_id,
        "R2_SECRET_ACCESS_KEY": bucket.secret,
    }
