"""What is held stays, over each kind of store, over restarts, and until its time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests

from fakes import PERSONALITIES, fake, of_r2
from motoserver import Moto
from pools import Pool
from service import Service

UNTIL = "2099-01-31T00:00:00Z"
RULES = {"STORAGE_HOLDS": "on", "STORAGE_RETENTION": "legal/=10y", "STORAGE_LEGAL_HOLD": "case/2026-17", "STORAGE_WRITE_MODE": "overwrite"}
HELD = {
    "a/until": {"Proof-Retain-Until": UNTIL},
    "a/hold": {"Proof-Legal-Hold": "on"},
    "legal/a": {},
    "case/2026-17": {},
}
SECONDS = 30


def check(service: Service) -> None:
    """Every call that could destroy what is held, and what is there afterwards."""
    proofs = f"{service.url}/v1/proofs"
    assert requests.put(f"{proofs}/free", data=b"free", timeout=SECONDS).ok
    for key, headers in HELD.items():
        stored = requests.put(f"{proofs}/{key}", data=b"held", headers=headers, timeout=SECONDS)
        # The second time the same bytes are there.
        assert stored.status_code in (200, 201), stored.text
        retention = stored.json()["retention"]
        assert retention["strength"] == "gateway"
        assert retention["source"] == ("object" if headers else "prefix")
        tag = {"If-Match": stored.headers["ETag"]}
        transfer = {"overwrite": True}
        answers = [
            requests.delete(f"{proofs}/{key}", timeout=SECONDS),
            requests.delete(f"{proofs}/{key}", headers=tag, timeout=SECONDS),
            requests.put(f"{proofs}/{key}", data=b"other", timeout=SECONDS),
            requests.put(f"{proofs}/{key}", data=b"other", headers=tag, timeout=SECONDS),
        ]
        for call, source, destination in [("move", key, "x"), ("move", "free", key), ("copy", "free", key)]:
            body = transfer | {"source": source, "destination": destination}
            answers.append(requests.post(f"{service.url}/v1/{call}", json=body, timeout=SECONDS))
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (409, "RETAINED"), answer.text
        batch = requests.post(f"{service.url}/v1/batch-delete", json={"keys": [key]}, timeout=SECONDS).json()
        assert (batch["deleted"], batch["failed"][0]["code"]) == ([], "RETAINED")
        got = requests.get(f"{proofs}/{key}", timeout=SECONDS)
        assert got.content == b"held"
        assert got.headers.get("Proof-Retain-Until") == retention["until"]
        assert (got.headers.get("Proof-Legal-Hold") == "on") == retention["legal_hold"]
        metadata = requests.get(f"{service.url}/v1/metadata/{key}", timeout=SECONDS).json()
        assert metadata["retention"] == retention
    assert requests.get(f"{proofs}/free", timeout=SECONDS).content == b"free"
    assert requests.get(f"{proofs}/x", timeout=SECONDS).status_code == 404


def retain(service: Service, key: str, **wanted: object) -> requests.Response:
    return requests.put(f"{service.url}/v1/retention/{key}", json=wanted, timeout=SECONDS)


def check_changes(service: Service, *of_a_copy: str) -> None:
    """Holds come and go, and the bytes stay. `of_a_copy`: what two copies of one proof may say differently."""
    proofs = f"{service.url}/v1/proofs"
    body = b"changed " * 40_000
    stored = requests.put(f"{proofs}/c", data=body, headers={"Proof-Tags": "a=b", "Proof-Meta-c": "d"}, timeout=SECONDS)
    if stored.status_code == 501:  # a store without tags
        stored = requests.put(f"{proofs}/c", data=body, headers={"Proof-Meta-c": "d"}, timeout=SECONDS)
    assert stored.status_code == 201, stored.text
    before = requests.get(f"{service.url}/v1/metadata/c", timeout=SECONDS).json()
    for wanted in [{"legal_hold": True}, {"legal_hold": False}]:
        changed = retain(service, "c", **wanted)
        assert changed.status_code == 200, changed.text
    assert requests.get(f"{proofs}/c", timeout=SECONDS).content == body
    after = requests.get(f"{service.url}/v1/metadata/c", timeout=SECONDS).json()
    for field in ("timestamp", "last_modified", "version_id", *of_a_copy):
        del before[field], after[field]
    assert after == before
    soon = datetime.now(timezone.utc) + timedelta(seconds=3)
    assert retain(service, "c", retain_until=soon.isoformat(timespec="seconds")).status_code == 200
    assert requests.delete(f"{proofs}/c", timeout=SECONDS).status_code in (204, 409)
    # However long it takes: it ends.
    while requests.delete(f"{proofs}/c", timeout=SECONDS).status_code == 409:
        time.sleep(0.5)
    assert datetime.now(timezone.utc) >= soon.replace(microsecond=0), "no sooner than it was to"
    assert requests.get(f"{proofs}/c", timeout=SECONDS).status_code == 404


def test_embedded_over_a_restart(start: Callable[..., Service]) -> None:
    running = start(**RULES)
    check(running)
    check_changes(running)
    running.stop()
    running.start()
    check(running)


@pytest.mark.parametrize("personality", PERSONALITIES)
def test_simulated(personality: str, start: Callable[..., Service]) -> None:
    with fake(personality, "--write-interval", "0") as bucket:
        settings = of_r2(bucket) if personality == "r2" else bucket.settings()
        running = start(**settings, **RULES)
        check(running)
        check_changes(running)


def test_moto_with_versions(start: Callable[..., Service], tmp_path: Path) -> None:
    with Moto(tmp_path) as server:
        bucket = server.bucket("held", versions=True)
        running = start(**bucket.settings(), **RULES)
        check(running)
        check_changes(running)
        # Another replica, which was told nothing, refuses the same.
        check(start(**bucket.settings(), **RULES))


@pytest.mark.parametrize("mode", ["fallback", "mirror"])
def test_pools(mode: str, tmp_path: Path) -> None:
    with fake("aws") as first, fake("garage") as second:
        pool = Pool(tmp_path, mode, (first, second))
        one, two = pool.replica(), pool.replica()
        for replica in (one, two):
            replica.settings |= RULES
        with one, two:
            check(one)
            # The first encrypts everything by itself, and either may be read.
            check_changes(one, "encryption")
            check(two)
        both = [first, second] if mode == "mirror" else [first]
        assert all(bucket.names(".proof-storage/holds") for bucket in both), "the mark is with the proofs"


def test_off_until_something_was_held(start: Callable[..., Service]) -> None:
    running = start()
    path = f"{running.url}/v1/proofs/a"
    assert requests.put(path, data=b"a", timeout=SECONDS).status_code == 201
    asked = [
        requests.put(path, data=b"a", headers={"Proof-Legal-Hold": "on"}, timeout=SECONDS),
        retain(running, "a", legal_hold=True),
    ]
    for answer in asked:
        assert (answer.status_code, answer.json()["code"]) == (501, "UNSUPPORTED")
        assert "STORAGE_HOLDS=on" in answer.json()["detail"]
    running.stop()
    running.settings["STORAGE_HOLDS"] = "on"
    running.start()
    assert retain(running, "a", legal_hold=True).status_code == 200
    running.stop()
    del running.settings["STORAGE_HOLDS"]
    running.start()
    assert requests.delete(path, timeout=SECONDS).json()["code"] == "RETAINED"
    assert "the store has held proofs" in running.log_text()
    assert retain(running, "a", legal_hold=False).status_code == 200
    assert requests.delete(path, timeout=SECONDS).status_code == 204
