"""A cluster of three Garage nodes, of which one is killed and started again under load."""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from garage import Cluster
from ledger import Findings, Ledger
from places import poll
from service import Service

CLIENTS = 16
READERS = 32
PROOFS = 10_000
#: After so many kills that no client notices, the control has failed.
CONTROL_KILLS = 10


class Client:
    """A connection that is made again where it broke, and what was answered on it."""

    def __init__(self, service: Service) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        self.statuses: Counter[str] = Counter()

    def call(self, method: str, key: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body; the status is 0 where no whole answer came."""
        try:
            self.connection.request(method, f"/v1/proofs/{key}", body)
            answer = self.connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            status, content = 0, b""
        self.statuses[f"{method} {status}"] += 1
        return status, content


class Readers:
    """For the ledger: a client for each thread. Only a 404 says that nothing is there."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.local = threading.local()

    def __call__(self, key: str) -> bytes | None:
        if not hasattr(self.local, "client"):
            self.local.client = Client(self.service)
        status, body = self.local.client.call("GET", key)
        assert status in (200, 404), (key, status, body)
        return body if status == 200 else None


def work(number: int, proofs: int, service: Service, ledger: Ledger) -> Counter[str]:
    """One client: stores proofs of its own, reads every fifth at once and deletes every tenth again."""
    client, chance = Client(service), random.Random(number)
    for index in range(proofs):
        key = f"w{number:02}/{index}.c2pa"
        body = chance.randbytes(chance.randint(1_000, 8_000))
        status, _ = client.call("PUT", key, body)
        if status == 201:
            ledger.stored(key, body)
        else:
            ledger.maybe_stored(key, body)
        if status == 201 and index % 5 == 0:
            status, found = client.call("GET", key)
            assert status not in (200, 404) or found == body, f"{key} is not what was just stored"
        if index % 10 == 9:
            if client.call("DELETE", key)[0] == 204:
                ledger.deleted(key)
            else:
                ledger.maybe_deleted(key)
    return client.statuses


class Load:
    """All clients at work."""

    def __init__(self, service: Service, ledger: Ledger, proofs: int) -> None:
        self.ledger = ledger
        self.pool = ThreadPoolExecutor(CLIENTS)
        self.clients: list[Future[Counter[str]]] = [
            self.pool.submit(work, number, proofs // CLIENTS, service, ledger) for number in range(CLIENTS)
        ]

    def wait_for(self, promises: int) -> None:
        """Until so many keys were promised something, or nobody works any more."""
        while self.ledger.promises < promises and not all(client.done() for client in self.clients):
            threading.Event().wait(0.01)

    def finish(self) -> Counter[str]:
        """What all of them were answered; raises what one of them raised."""
        self.pool.shutdown()
        return sum((client.result() for client in self.clients), Counter())


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
        load = Load(service, ledger, PROOFS)
        load.wait_for(PROOFS // 3)
        before = ledger.promises
        cluster.nodes[1].kill()
        load.wait_for(2 * PROOFS // 3)
        without = ledger.promises - before
        cluster.nodes[1].start()
        statuses = load.finish()
        seconds = time.monotonic() - began

        # The clients see nothing of it: what was cut off is tried again by the service.
        asked = {"PUT 201": PROOFS, "GET 200": PROOFS // 5, "DELETE 204": CLIENTS * (PROOFS // CLIENTS // 10)}
        assert statuses == asked
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
        s3, bucket = cluster.bucket.client(), cluster.bucket.name
        lost, altered, back = "w00/0.c2pa", "w00/1.c2pa", "w00/9.c2pa"
        s3.delete_object(Bucket=bucket, Key=f"proofs/{lost}")
        s3.put_object(Bucket=bucket, Key=f"proofs/{altered}", Body=b"something else")
        s3.put_object(Bucket=bucket, Key=f"proofs/{back}", Body=b"deleted long ago")
        assert ledger.check(Readers(service), READERS) == Findings([lost], [altered], [back])


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
            load = Load(service, ledger, 800)
            load.wait_for(300)
            cluster.nodes[2].kill()
            statuses = load.finish()
            cluster.nodes[2].start()
            cluster.settle()
            # A service that does not try again may have given up the store for a moment.
            poll(lambda: requests.get(f"{service.url}/v1/proofs/x", timeout=60).status_code == 404)
            assert not ledger.check(Readers(service), READERS)
        refused = sum(count for answer, count in statuses.items() if answer.split()[1] not in ("200", "201", "204"))
        if refused:
            figures(f"the same without retries: {refused} calls failed at kill {number}, 0 lost")
            return
    raise AssertionError(f"{CONTROL_KILLS} kills, and nobody saw one")
