"""Object lock over moto, whose locks are other people's work: what is held is locked in the bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from motoserver import Moto
from places import Place, examined
from s3 import Bucket
from service import Service

UNTIL = "2099-01-31T00:00:00Z"
DATE = datetime(2099, 1, 31, tzinfo=timezone.utc)
HOLDS = {"STORAGE_HOLDS": "on"}
BOTH = {"Proof-Retain-Until": UNTIL, "Proof-Legal-Hold": "on"}
SECONDS = 30


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


def store(service: Service, key: str, body: bytes = b"held", **headers: str) -> dict[str, Any]:
    answer = requests.put(f"{service.url}/v1/proofs/{key}", data=body, headers=headers, timeout=SECONDS)
    assert answer.status_code == 201, answer.text
    return answer.json()


def retention(service: Service, key: str) -> dict[str, Any]:
    return requests.get(f"{service.url}/v1/metadata/{key}", timeout=SECONDS).json()["retention"]


def versions(bucket: Bucket, key: str) -> list[str]:
    """Of one object, the newest first."""
    found = bucket.client().list_object_versions(Bucket=bucket.name, Prefix=f"proofs/{key}")
    return [version["VersionId"] for version in found.get("Versions", [])]


def removable(bucket: Bucket, key: str, version: str, bypass: bool = False) -> bool:
    """Whether whoever has the bucket's credentials can remove a version for good; it is gone then."""
    more = {"BypassGovernanceRetention": True} if bypass else {}
    try:
        bucket.client().delete_object(Bucket=bucket.name, Key=f"proofs/{key}", VersionId=version, **more)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
        return False
    return True


def hold_of(bucket: Bucket, key: str, version: str) -> str | None:
    head = bucket.client().head_object(Bucket=bucket.name, Key=f"proofs/{key}", VersionId=version)
    return head.get("ObjectLockLegalHoldStatus")


def object_lock(service: Service) -> str:
    """What the service has found of its one backend."""
    shown = requests.get(f"{service.url}/v1/backends", timeout=SECONDS).json()
    return shown["backends"][0]["capabilities"]["object_lock"]


def test_what_is_held_is_locked(moto: Moto, start: Callable[..., Service]) -> None:
    bucket = moto.bucket("locked", locks=True)
    running = start(**bucket.settings(), **HOLDS)
    stored = store(running, "a", **BOTH)
    wanted = {"until": UNTIL, "legal_hold": True, "source": "object", "strength": "native"}
    assert stored["retention"] == wanted
    assert retention(running, "a") == wanted

    [version] = versions(bucket, "a")
    head = bucket.client().head_object(Bucket=bucket.name, Key="proofs/a")
    assert head["ObjectLockMode"] == "GOVERNANCE"
    assert head["ObjectLockRetainUntilDate"] == DATE
    assert head["ObjectLockLegalHoldStatus"] == "ON"
    assert not removable(bucket, "a", version)
    assert not removable(bucket, "a", version, bypass=True), "the hold is left"
    refused = requests.delete(f"{running.url}/v1/proofs/a", timeout=SECONDS)
    assert (refused.status_code, refused.json()["code"]) == (409, "RETAINED")
    assert requests.get(f"{running.url}/v1/proofs/a", timeout=SECONDS).content == b"held"

    # The control: what nothing is said of is not locked in the same bucket.
    assert store(running, "free", b"free")["retention"] is None
    [free] = versions(bucket, "free")
    assert removable(bucket, "free", free)


def test_what_is_dropped_is_not_claimed(moto: Moto, start: Callable[..., Service]) -> None:
    """moto takes the lock of an upload in parts, and drops it: only who looks knows."""
    bucket = moto.bucket("dropped", locks=True)
    running = start(**bucket.settings(), **HOLDS)
    # Above 8 MiB it goes in parts.
    body = os.urandom(9 << 20)
    stored = store(running, "a", body, **BOTH)
    [version] = versions(bucket, "a")
    locked = hold_of(bucket, "a", version) == "ON"
    assert stored["retention"]["strength"] == retention(running, "a")["strength"]
    assert (stored["retention"]["strength"] == "native") == locked
    assert removable(bucket, "a", version) != locked
    if not locked:
        assert "does not say that it locked" in running.log_text()


def test_a_bucket_without_locks_is_the_control(moto: Moto, start: Callable[..., Service]) -> None:
    bucket = moto.bucket("unlocked", versions=True)
    running = start(**bucket.settings(), **HOLDS)
    stored = store(running, "a", **BOTH)
    assert stored["retention"]["strength"] == "gateway"
    assert retention(running, "a")["strength"] == "gateway"
    [version] = versions(bucket, "a")
    assert removable(bucket, "a", version), "nobody but the service refuses"


def test_a_cleared_hold_lets_the_old_version_go(moto: Moto, start: Callable[..., Service]) -> None:
    bucket = moto.bucket("cleared", locks=True)
    running = start(**bucket.settings(), **HOLDS)
    store(running, "a", **{"Proof-Legal-Hold": "on"})
    [first] = versions(bucket, "a")
    assert not removable(bucket, "a", first)
    extended = requests.put(f"{running.url}/v1/retention/a", json={"retain_until": UNTIL}, timeout=SECONDS)
    assert extended.json()["retention"]["strength"] == "native"
    second, old = versions(bucket, "a")
    assert old == first
    assert (hold_of(bucket, "a", first), hold_of(bucket, "a", second)) == ("OFF", "ON")
    cleared = requests.put(f"{running.url}/v1/retention/a", json={"legal_hold": False}, timeout=SECONDS)
    assert cleared.json()["retention"] == {
        "until": UNTIL, "legal_hold": False, "source": "object", "strength": "native"
    }
    third, *_ = versions(bucket, "a")
    assert hold_of(bucket, "a", second) == "OFF"
    assert removable(bucket, "a", first), "it had no date"
    assert not removable(bucket, "a", second), "its date is not over"
    assert not removable(bucket, "a", third)
    assert requests.get(f"{running.url}/v1/proofs/a", timeout=SECONDS).content == b"held"


@pytest.mark.parametrize("mode", ["compliance", "off"])
def test_the_mode_is_the_operators(mode: str, moto: Moto, start: Callable[..., Service]) -> None:
    bucket = moto.bucket(f"mode-{mode}", locks=True)
    running = start(**bucket.settings(), **HOLDS, STORAGE_OBJECT_LOCK=mode)
    strength = store(running, "a", **{"Proof-Retain-Until": UNTIL})["retention"]["strength"]
    assert strength == ("gateway" if mode == "off" else "native")
    [version] = versions(bucket, "a")
    assert removable(bucket, "a", version, bypass=True) == (mode == "off")


def test_rules_for_prefixes_stay_the_services(moto: Moto, start: Callable[..., Service]) -> None:
    bucket = moto.bucket("rules", locks=True)
    running = start(**bucket.settings(), STORAGE_RETENTION="legal/=10y")
    assert store(running, "legal/a")["retention"]["strength"] == "gateway"
    [version] = versions(bucket, "legal/a")
    assert removable(bucket, "legal/a", version)


def test_what_is_found_is_shown(moto: Moto, start: Callable[..., Service]) -> None:
    for name, locks, found in (("shown-locked", True, "native"), ("shown-free", False, "gateway")):
        bucket = moto.bucket(name, locks=locks)
        running = start(**bucket.settings())
        examined(Place("", bucket, running))
        assert object_lock(running) == found
