"""Services over several stores as one: how they are started, and what they and the stores say of themselves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from ledger import Findings, Ledger
from load import PATIENCE, READERS, Readers
from places import poll
from s3 import Bucket
from service import Service

MEMBERS = ("first", "second")


@dataclass
class Pool:
    """Two stores in a mode, and any number of replicas over them."""

    folder: Path
    mode: str
    buckets: tuple[Bucket, Bucket]
    replicas: list[Service] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        """Of this test's own, so that tests do not meet."""
        return f"{self.folder.name}/"

    def replica(self) -> Service:
        """One more process of the service, with an empty disk; not started."""
        folder = self.folder / f"replica-{len(self.replicas)}"
        folder.mkdir()
        config = folder / "pool.toml"
        members = map(_member, MEMBERS, self.buckets)
        config.write_text(f'[pool]\nmode = "{self.mode}"\n{"".join(members)}', encoding="utf-8")
        self.replicas.append(Service(folder, {"STORAGE_CONFIG": str(config), "STORAGE_KEY_PREFIX": self.prefix}))
        return self.replicas[-1]

    def records(self, bucket: Bucket, kind: str) -> set[str]:
        """Names of what the pool wrote down for itself: `now/clock/`, `quarantine/`."""
        service = hashlib.sha256(self.prefix.encode()).hexdigest()[:16]
        return bucket.names(f".proof-storage/pool/{service}/{kind}")

    def names(self, bucket: Bucket) -> set[str]:
        """Keys of the proofs that a store itself has."""
        return {name.removeprefix(self.prefix) for name in bucket.names(self.prefix)}


def _member(name: str, bucket: Bucket) -> str:
    return f"""
[[backend]]
name = "{name}"
provider = "s3"
endpoint = "{bucket.endpoint}"
region = "{bucket.region}"
bucket = "{bucket.name}"
access_key_id = "{bucket.key_id}"
secret_access_key = "{bucket.secret}"
timeout = 8000
"""


def shown(service: Service) -> dict[str, Any]:
    """The pool of `/v1/backends`, and each member by its name."""
    state = requests.get(f"{service.url}/v1/backends", timeout=30).json()
    return state["pool"] | {one["name"]: one for one in state["backends"]}


def settled(service: Service) -> bool:
    """Whether nothing waits, and both stores are known to be well again."""
    state = shown(service)
    return state["repairs_pending"] == 0 and all(state[name]["status"] == "ok" for name in MEMBERS)


def complete(service: Service) -> bool:
    """Whether the home was compared with the others when the service was new."""
    return shown(service)["first"]["complete"] is True


def check_twice(service: Service, ledger: Ledger) -> Findings:
    """What does not hold now, or else after a restart, when it first reads what is written down."""
    poll(lambda: settled(service))
    if found := ledger.check(Readers(service, PATIENCE), READERS):
        return found
    service.stop()
    service.start()
    return ledger.check(Readers(service, PATIENCE), READERS)
