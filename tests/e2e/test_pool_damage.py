"""A mirror of two Garage servers, of which one has wrong, cut and missing copies: none is served, all are mended."""

from __future__ import annotations

import gzip
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from faultproxy import FaultProxy
from garage import Cluster
from ledger import Findings, Ledger
from load import READERS, Client
from places import poll
from pools import Pool, complete, settled, shown
from s3 import Bucket
from service import Service, binary
from signing import manifests

PROOFS = 2_100
WRITERS = 8
CLIENTS = 4
#: Milliseconds to the store that is well: reads go to the near one, which will be damaged.
AWAY = 20


@dataclass
class Mirror:
    """A pool that keeps `ledger`, and the store that will be damaged."""

    pool: Pool
    service: Service
    ledger: Ledger
    store: Bucket


@pytest.fixture(scope="module")
def mirror(stores: tuple[Cluster, Cluster], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    with FaultProxy(stores[1].nodes[0].s3_port) as wire:
        wire.tell(f"fault delay={AWAY} times={sys.maxsize}")
        far = replace(stores[1].bucket, endpoint=wire.endpoint)
        pool = Pool(tmp_path_factory.mktemp("mirror"), "mirror", (stores[0].bucket, far))
        yield from filled(pool)


def filled(pool: Pool) -> Iterator[Mirror]:
    with pool.replica() as service:
        poll(lambda: complete(service))
        ledger = Ledger()
        fill(service, ledger)
        poll(lambda: settled(service))
        assert all(pool.names(bucket) == ledger.kept for bucket in pool.buckets)
        yield Mirror(pool, service, ledger, pool.buckets[0])


def fill(service: Service, ledger: Ledger) -> None:
    """Proofs of some kilobytes, and manifests of signed images among them."""

    def write(writer: int) -> None:
        client, chance = Client(service), random.Random(writer)
        for number in range(writer, PROOFS, WRITERS):
            is_real = number % 4 == 1
            body = chance.choice(manifests()) if is_real else chance.randbytes(chance.randint(1_000, 8_000))
            key = f"{number:05}.{'json' if body.startswith(b'{') else 'c2pa'}"
            status, answer = client.call("PUT", key, body)
            assert status == 201, answer
            ledger.stored(key, body)

    manifests()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))


@dataclass
class Damage:
    """Names by what was done to them."""

    missing: list[str]
    cut: list[str]
    altered: list[str]

    @property
    def wrong(self) -> list[str]:
        return self.cut + self.altered

    @property
    def all(self) -> list[str]:
        return self.missing + self.wrong


def damage(mirror: Mirror, offset: int) -> Damage:
    """Of every hundredth copy of one store: deleted, cut and altered in turns, metadata as it was."""
    chosen = sorted(mirror.ledger.kept)[offset::100]
    done = Damage(chosen[0::3], chosen[1::3], chosen[2::3])
    for key in done.missing:
        mirror.store.client().delete_object(Bucket=mirror.store.name, Key=mirror.pool.prefix + key)
    for key in done.wrong:
        taken = mirror.store.taken(mirror.pool.prefix + key)
        right = taken["Body"]
        wrong = right[:-1] if key in done.cut else right[:99] + bytes([right[99] ^ 1]) + right[100:]
        mirror.store.put(mirror.pool.prefix + key, taken | {"Body": wrong})
    return done


def read_all(mirror: Mirror) -> list[float]:
    """Every proof once, by several clients; seconds of each. What is not as stored, or not answered, raises."""
    keys, local, seconds = sorted(mirror.ledger.kept), threading.local(), []
    random.Random(0).shuffle(keys)

    def read(key: str) -> bytes | None:
        if not hasattr(local, "client"):
            local.client = Client(mirror.service)
        began = time.perf_counter()
        status, body = local.client.call("GET", key)
        seconds.append(time.perf_counter() - began)
        assert status == 200, (key, status, body)
        return body

    assert not mirror.ledger.check(read, CLIENTS)
    return seconds


def reconcile(mirror: Mirror, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    command = [binary(), "reconcile", "--verify", "--json", *options]
    done = subprocess.run(command, env=mirror.service.environment(), capture_output=True, timeout=300)
    return done.returncode, json.loads(done.stdout)


def at_rest(mirror: Mirror, bucket: Bucket) -> Findings:
    """What one store by itself has not as it was stored."""
    client = bucket.client()

    def read(key: str) -> bytes | None:
        try:
            found = client.get_object(Bucket=bucket.name, Key=mirror.pool.prefix + key)
        except client.exceptions.NoSuchKey:
            return None
        body = found["Body"].read()
        return gzip.decompress(body) if found.get("ContentEncoding") == "gzip" else body

    return mirror.ledger.check(read, READERS)


def put_aside(mirror: Mirror) -> Counter[str]:
    """Keys whose wrong bytes the damaged store keeps, as the notes beside them say."""
    names = mirror.pool.records(mirror.store, "quarantine/")
    notes = [json.loads(mirror.store.taken(name)["Body"]) for name in names if f"{name}.json" not in names]
    assert all(note["bytes_kept"] and note["why"] == "quarantine" for note in notes), notes
    assert len(names) == 2 * len(notes), "a note and a copy each"
    return Counter(note["key"].removeprefix(mirror.pool.prefix) for note in notes)


def shape(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"p50 {1000 * cuts[49]:.1f} ms, p99 {1000 * cuts[98]:.1f} ms"


def test_damaged_copies_are_never_served_and_mended(mirror: Mirror, figures: Callable[[str], None]) -> None:
    read_all(mirror)
    before = read_all(mirror)
    done, known = damage(mirror, 0), shown(mirror.service)
    began = time.monotonic()
    during = read_all(mirror)
    # The pool asks the faster store, which may be the whole one for long: then only second questions meet the other.
    for _ in range(60):
        if any(shown(mirror.service)[figure] > known[figure] for figure in ("repaired_copies", "quarantined")):
            break
        read_all(mirror)
    poll(lambda: settled(mirror.service))
    passing, state = time.monotonic() - began, shown(mirror.service)
    mended = state["repaired_copies"] - known["repaired_copies"]
    aside = state["quarantined"] - known["quarantined"]

    began = time.monotonic()
    code, report = reconcile(mirror)
    walk = time.monotonic() - began
    assert code == 0, report
    assert mended > 0, "no read met the damage"
    left = len(done.all) - mended
    assert report == {
        "compared": PROOFS,
        "missing": report["missing"],
        "extra": 0,
        "different": 0,
        "corrupt": left - report["missing"],
        "quarantined": len(done.wrong) - aside,
        "repaired": left,
        "failed": 0,
        "postponed": 0,
        "unreachable": [],
    }
    assert put_aside(mirror) == Counter(done.wrong)
    assert not at_rest(mirror, mirror.pool.buckets[0])
    assert not at_rest(mirror, mirror.pool.buckets[1])
    after = read_all(mirror)
    figures(
        f"mirror, {len(done.all)} of {PROOFS} copies of one store gone ({len(done.missing)}), cut "
        f"({len(done.cut)}) and altered ({len(done.altered)}): 0 bad or failed reads; {CLIENTS} readers of all: "
        f"before {shape(before)}, over the damage {shape(during)}, mended {shape(after)}; {mended} mended in passing, "
        f"{passing:.1f} s after the first read, {left} by reconcile --verify in {walk:.1f} s"
    )


def test_reconcile_alone_finds_and_mends_all(mirror: Mirror, figures: Callable[[str], None]) -> None:
    earlier = put_aside(mirror)
    done = damage(mirror, 50)
    # Negative controls: what is damaged is seen, and not mended by itself.
    assert at_rest(mirror, mirror.store) == Findings(done.missing, sorted(done.wrong))
    found = {"compared": PROOFS, "missing": len(done.missing), "extra": 0, "different": 0, "corrupt": len(done.wrong)}
    nothing_wrong = {"failed": 0, "postponed": 0, "unreachable": []}
    nothing_done = {"quarantined": 0, "repaired": 0} | nothing_wrong
    assert reconcile(mirror, "--dry-run") == (1, found | nothing_done)
    assert at_rest(mirror, mirror.store)

    began = time.monotonic()
    all_done = {"quarantined": len(done.wrong), "repaired": len(done.all)} | nothing_wrong
    assert reconcile(mirror) == (0, found | all_done)
    walk = time.monotonic() - began
    assert put_aside(mirror) - earlier == Counter(done.wrong)
    assert not at_rest(mirror, mirror.pool.buckets[0])
    assert not at_rest(mirror, mirror.pool.buckets[1])
    assert reconcile(mirror) == (0, {**found, "missing": 0, "corrupt": 0, **nothing_done})
    figures(f"the same without any reads: reconcile --verify mends {len(done.all)} of {PROOFS} in {walk:.1f} s")


def test_control_a_proof_that_is_damaged_everywhere_is_reported(mirror: Mirror) -> None:
    """It is refused, and comes back when a store has it as it was."""
    key = max(mirror.ledger.kept)
    backup = mirror.store.taken(mirror.pool.prefix + key)
    for bucket in mirror.pool.buckets:
        bucket.put(mirror.pool.prefix + key, backup | {"Body": b"x" * len(backup["Body"])})
    with pytest.raises(AssertionError, match="502"):
        read_all(mirror)
    mirror.store.put(mirror.pool.prefix + key, backup)
    poll(lambda: Client(mirror.service).call("GET", key)[0] == 200)
    read_all(mirror)
