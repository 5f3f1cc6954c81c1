"""Two Garage servers as two stores of one service: one goes away and returns, under load."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from garage import Cluster
from ledger import Findings, Ledger
from places import poll
from s3 import Bucket
from service import Service, binary
from test_cluster import CLIENTS, READERS, Load, Readers

PROOFS = 2_400

Stores = tuple[Cluster, Cluster]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("stores")
    with ExitStack() as stack:
        first = stack.enter_context(Cluster(folder / "first", 1))
        yield first, stack.enter_context(Cluster(folder / "second", 1))


def member(name: str, bucket: Bucket) -> str:
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


def pool(folder: Path, mode: str, stores: Stores) -> Service:
    """A service over both; its prefix is the mode and the folder, so that tests do not meet."""
    config = folder / "pool.toml"
    members = member("first", stores[0].bucket) + member("second", stores[1].bucket)
    config.write_text(f'[pool]\nmode = "{mode}"\n{members}', encoding="utf-8")
    return Service(folder, {"STORAGE_CONFIG": str(config), "STORAGE_KEY_PREFIX": prefix(folder)})


def prefix(folder: Path) -> str:
    return f"{folder.name}/"


def names(store: Cluster, folder: Path) -> set[str]:
    """Proofs that a store itself has."""
    pages = store.bucket.client().get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=store.bucket.name, Prefix=prefix(folder))
    return {item["Key"] for page in found for item in page.get("Contents", [])}


def shown(service: Service) -> dict[str, object]:
    """The pool of `/v1/backends`."""
    state = requests.get(f"{service.url}/v1/backends", timeout=30).json()
    assert isinstance(state["pool"], dict)
    return state["pool"] | {one["name"]: one for one in state["backends"]}


def settled(service: Service) -> bool:
    """Whether nothing waits, and both stores are known to be well again."""
    state = shown(service)
    are_well = all(state[name]["status"] == "ok" for name in ("first", "second"))  # type: ignore[index]
    return are_well and state["repairs_pending"] == 0


def complete(service: Service) -> bool:
    """Whether the members were compared when the service was new."""
    return shown(service)["first"]["complete"] is True  # type: ignore[index]


def failures(statuses: Counter[str]) -> dict[str, int]:
    fine = ("PUT 201", "GET 200", "DELETE 204")
    return {answer: count for answer, count in statuses.items() if answer not in fine}


def test_fallback_a_store_is_killed_and_started_again(
    stores: Stores, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger, node = Ledger(), stores[0].nodes[0]
    with pool(tmp_path, "fallback", stores) as service:
        poll(lambda: complete(service))
        load = Load(service, ledger, PROOFS)
        load.wait_for(PROOFS // 3)
        node.kill()
        load.wait_for(2 * PROOFS // 3)
        state = shown(service)
        assert state["repairs_pending"], "nothing was taken over"
        node.start()
        statuses = load.finish()
        # Stored at home, and read back while it was away: what a fallback cannot serve.
        assert set(failures(statuses)) <= {"GET 503"}, statuses
        began = time.monotonic()
        poll(lambda: settled(service))
        drained = time.monotonic() - began
        assert not ledger.check(Readers(service), READERS)
        assert not names(stores[1], tmp_path), "what was taken over has moved home"
        figures(
            f"fallback, the first of two stores killed and started again under {CLIENTS} clients: "
            f"{dict(statuses)}; {state['repairs_pending']} repairs when it came back, done {drained:.0f} s after "
            "the load; 0 lost, 0 altered, 0 resurrected"
        )

        # Negative control: what is done behind the service's back is found.
        s3, bucket = stores[0].bucket.client(), stores[0].bucket.name
        s3.delete_object(Bucket=bucket, Key=f"{prefix(tmp_path)}w00/0.c2pa")
        assert ledger.check(Readers(service), READERS) == Findings(["w00/0.c2pa"])


def test_fallback_a_store_is_silent_and_the_service_is_killed_meanwhile(
    stores: Stores, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger, node = Ledger(), stores[0].nodes[0]
    assert node.process is not None
    with pool(tmp_path, "fallback", stores) as service:
        poll(lambda: complete(service))
        load = Load(service, ledger, PROOFS)
        load.wait_for(PROOFS // 4)
        # It takes connections and says nothing.
        node.process.send_signal(signal.SIGSTOP)
        try:
            load.wait_for(PROOFS // 2)
            assert service.process is not None
            service.process.kill()
            service.process.wait()
            subprocess.run(["rm", "-r", str(tmp_path / "data")], check=True)
            service.start()
            load.wait_for(3 * PROOFS // 4)
        finally:
            node.process.send_signal(signal.SIGCONT)
        statuses = load.finish()
        # Cut off with the service itself, or read back from a home that is away.
        assert set(failures(statuses)) <= {"GET 503", "PUT 0", "GET 0", "DELETE 0"}, statuses
        poll(lambda: settled(service))
        assert not ledger.check(Readers(service), READERS)
        figures(
            f"fallback, the first of two stores silent, the service killed and started on an empty disk "
            f"meanwhile: {dict(statuses)}; 0 lost, 0 altered, 0 resurrected"
        )


def test_mirror_either_store_is_killed_and_nobody_notices(
    stores: Stores, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger = Ledger()
    with pool(tmp_path, "mirror", stores) as service:
        poll(lambda: complete(service))
        load = Load(service, ledger, PROOFS)
        load.wait_for(PROOFS // 3)
        stores[0].nodes[0].kill()
        load.wait_for(2 * PROOFS // 3)
        stores[0].nodes[0].start()
        statuses = load.finish()
        assert not failures(statuses), statuses
        poll(lambda: settled(service))
        assert names(stores[0], tmp_path) == names(stores[1], tmp_path) != set()
        # The one that was away has everything.
        stores[1].nodes[0].kill()
        try:
            assert not ledger.check(Readers(service), READERS)
        finally:
            stores[1].nodes[0].start()
        figures(
            f"mirror, the first of two stores killed and started again under {CLIENTS} clients, then the "
            f"second one while all is read back: {dict(statuses)}; 0 lost, 0 altered, 0 resurrected"
        )


def test_mirror_wrong_and_missing_copies_are_never_served_and_mended(
    stores: Stores, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger = Ledger()
    with pool(tmp_path, "mirror", stores) as service:
        poll(lambda: complete(service))
        Load(service, ledger, PROOFS // 4).finish()
        s3, bucket = stores[0].bucket.client(), stores[0].bucket.name
        damaged = sorted(names(stores[0], tmp_path))[::50]
        for number, name in enumerate(damaged):
            if number % 3 == 0:
                s3.delete_object(Bucket=bucket, Key=name)
                continue
            head = s3.head_object(Bucket=bucket, Key=name)
            right = s3.get_object(Bucket=bucket, Key=name)["Body"].read()
            wrong = right[:-1] if number % 3 == 1 else bytes([right[0] ^ 1]) + right[1:]
            kept = {"Metadata": head["Metadata"], "ContentType": head["ContentType"]}
            s3.put_object(Bucket=bucket, Key=name, Body=wrong, **kept)
        assert not ledger.check(Readers(service), READERS), "none is bad, none fails"
        command = [binary(), "reconcile", "--verify", "--json"]
        done = subprocess.run(command, env=service.environment(), capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["failed"] == 0 and not report["unreachable"], report
        for name in damaged:
            bodies = [one.bucket.client().get_object(Bucket=one.bucket.name, Key=name)["Body"].read() for one in stores]
            assert bodies[0] == bodies[1], name
        figures(f"mirror, {len(damaged)} of {report['compared']} copies wrong, cut or gone: all mended, none served")
