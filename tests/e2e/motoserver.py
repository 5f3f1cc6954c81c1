"""moto's S3 server as a process: tags, encryption headers, versions and object lock, which Garage has not.

A simulation in memory by other people than us: it checks no race and keeps nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from urllib.error import URLError
from urllib.request import urlopen

from s3 import Bucket
from service import free_port

START_SECONDS = 30
REGION = "us-east-1"


class Moto:
    """Owns the process: leaving the `with` block ends it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "moto.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Moto:
        with self.log.open("wb") as log:
            command = [Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(self.port)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urlopen(f"http://127.0.0.1:{self.port}/moto-api/", timeout=2)
                return self
            except URLError:
                time.sleep(0.1)
        self.__exit__(None, None, None)
        raise RuntimeError(f"moto did not start:\n{self.log.read_text(errors='replace')}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def bucket(self, name: str, versions: bool = False, locks: bool = False) -> Bucket:
        """A new bucket. One with object lock keeps versions too."""
        bucket = Bucket(f"http://127.0.0.1:{self.port}", REGION, name, "testing", "testing")
        client = bucket.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locks)
        if versions:
            client.put_bucket_versioning(
                Bucket=name, VersioningConfiguration={"Status": "Enabled"}
            )
        return bucket
