"""A cluster of three Garage nodes, of which one is killed and started again under load."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from garage import Cluster
from ledger import Findings, Ledger
from load import CLIENTS, READERS, Load, Readers, calls, failures, methods
from places import poll
from sabotage import sabotage
from service import Service
from signing import manifests

PROOFS = 10_000
#: After so many kills that no client notices, the control has failed.
CONTROL_KILLS = 10


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), 3) as running:
        yield running


def retries(service: Service) -> int:
    """Calls to the backend that failed and were made again, or found to have been done."""
    text = requests.get(f"{service.url}/metrics", timeout=10).text
    line = r'^proof_storage_backend_retries_total\{.*outcome="(?:answered|failed|settled)".*\} (\d+)$'
    return sum(map(int, re.findall(line, text, re.MULTILINE)))


def test_control_the_ledger_tells_what_is_not_as_promised() -> None:
    ledger = Ledger()
    for key in ("kept", "lost", "altered", "late"):
        ledger.stored(key, key.encode())
    for key in ("gone", "back"):
        ledger.stored(key, key.encode())
        ledger.deleted(key)
    for key in ("maybe", "maybe not", "maybe other"):
        ledger.maybe_stored(key, key.encode())
    ledger.maybe_deleted("late")
    store = {key: key.encode() for key in ("kept", "back", "maybe")} | {"altered": b"?", "maybe other": b"?"}
    assert ledger.check(store.get) == Findings(["lost"], ["altered"], ["back", "maybe other"])


def test_a_node_is_killed_and_started_again_in_the_middle_of_10_000_proofs(
    cluster: Cluster, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger = Ledger()
    with Service(tmp_path, cluster.bucket.settings()) as service:
        began = time.monotonic()
        load = Load(service, ledger, PROOFS, manifests())
        load.wait_for(PROOFS // 3)
        before = ledger.promises
        cluster.nodes[1].kill()
        load.wait_for(2 * PROOFS // 3)
        without = ledger.promises - before
        cluster.nodes[1].start()
        statuses = load.finish()
        seconds = time.monotonic() - began

        # The clients see nothing of it: what was cut off is tried again by the service.
        assert not failures(statuses), statuses
        assert methods(statuses) == calls(PROOFS)
        assert retries(service) > 0, "the kill hit nothing"
        assert not ledger.check(Readers(service), READERS)

        # The node that was away serves what was written meanwhile: another one may go now.
        cluster.nodes[0].kill()
        assert not ledger.check(Readers(service), READERS)
        cluster.nodes[0].start()
        cluster.settle()
        figures(
            f"one of three nodes killed and started again under {CLIENTS} clients: {dict(statuses)}, "
            f"{without} proofs stored while it was away, {retries(service)} retries of the service, 0 lost, "
            f"0 altered, 0 resurrected; {seconds:.0f} s"
        )

        # Negative control: what is done behind the service's back is found.
        expected = sabotage(service, ledger, [cluster.bucket], "proofs/")
        assert ledger.check(Readers(service), READERS) == expected


def test_control_without_retries_the_clients_see_it(
    cluster: Cluster, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """And even then nothing is lost that was promised."""
    settings = cluster.bucket.settings() | {"STORAGE_MAX_RETRIES": "0"}
    for number in range(1, CONTROL_KILLS + 1):
        ledger = Ledger()
        prefix = {"STORAGE_KEY_PREFIX": f"control-{number}/"}
        folder = tmp_path / str(number)
        folder.mkdir()
        with Service(folder, settings | prefix) as service:
            load = Load(service, ledger, 800, manifests())
            load.wait_for(300)
            cluster.nodes[2].kill()
            statuses = load.finish()
            cluster.nodes[2].start()
            cluster.settle()
            # A service that does not try again may have given up the store for a moment.
            poll(lambda: requests.get(f"{service.url}/v1/proofs/x", timeout=60).status_code == 404)
            assert not ledger.check(Readers(service), READERS)
        if refused := sum(failures(statuses).values()):
            figures(f"the same without retries: {refused} calls failed at kill {number}, 0 lost")
            return
    raise AssertionError(f"{CONTROL_KILLS} kills, and nobody saw one")
