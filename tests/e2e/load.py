"""Clients at work on a service, who keep a ledger of what they were promised.

Each owns its keys, so that a key has exactly one right value. They delete what was stored just now and
what was stored long ago, and store anew under keys that were deleted just now or long ago: an outage in
the middle finds proofs in every state. What is read on the way must be right at once. A key in doubt is
left alone, because nothing is certain of it any more.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

from ledger import Ledger
from service import Service

CLIENTS = 16
READERS = 16
#: What is answered where all is well.
FINE = ("PUT 201", "GET 200", "GET 404", "DELETE 204")
#: For this long a client waits for a service that does not listen.
PATIENCE = 120


class Client:
    """A connection that is made again where it broke, and what was answered on it."""

    def __init__(self, service: Service) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        self.statuses: Counter[str] = Counter()

    def call(self, method: str, key: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body; the status is 0 where no whole answer came."""
        try:
            self._connect()
            self.connection.request(method, f"/v1/proofs/{key}", body)
            answer = self.connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            status, content = 0, b""
        self.statuses[f"{method} {status}"] += 1
        return status, content

    def _connect(self) -> None:
        """While nobody listens nothing can be asked for: that is no answer, and not a call."""
        deadline = time.monotonic() + PATIENCE
        while self.connection.sock is None:
            try:
                self.connection.connect()
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


class Readers:
    """For the ledger: a client for each thread. Only a 404 says that nothing is there; a 503 says nothing, and
    fails where there is no patience left to ask again.
    """

    def __init__(self, service: Service, patience: float = 0) -> None:
        self.service, self.patience = service, patience
        self.local = threading.local()

    def __call__(self, key: str) -> bytes | None:
        if not hasattr(self.local, "client"):
            self.local.client = Client(self.service)
        deadline = time.monotonic() + self.patience
        status, body = self.local.client.call("GET", key)
        while status == 503 and time.monotonic() < deadline:
            time.sleep(0.2)
            status, body = self.local.client.call("GET", key)
        assert status in (200, 404), (key, status, body)
        return body if status == 200 else None


class Load:
    """All clients at work. Reads go to another replica where one is given."""

    def __init__(
        self, service: Service, ledger: Ledger, proofs: int, corpus: list[bytes], replica: Service | None = None
    ) -> None:
        self.service, self.ledger, self.corpus, self.replica = service, ledger, corpus, replica
        #: Counted up by the test when something happens to a store.
        self.stage = 0
        #: Reads that were refused with 503: the stage at which the key was last written or deleted, and
        #: the one at which the answer came.
        self.refused: Counter[tuple[int, int]] = Counter()
        #: Calls without a whole answer, by the stage at which they began.
        self.cut: Counter[int] = Counter()
        self.pool = ThreadPoolExecutor(CLIENTS)
        self.workers = [Worker(self, number) for number in range(CLIENTS)]
        self.clients: list[Future[Counter[str]]] = [
            self.pool.submit(worker.run, proofs // CLIENTS) for worker in self.workers
        ]

    def wait_for(self, promises: int) -> None:
        """Until so many keys were promised something, or nobody works any more."""
        while self.ledger.promises < promises and not all(client.done() for client in self.clients):
            threading.Event().wait(0.01)

    def finish(self) -> Counter[str]:
        """What all of them were answered; raises what one of them raised."""
        self.pool.shutdown()
        statuses = sum((client.result() for client in self.clients), Counter())
        for worker in self.workers:
            self.refused += worker.refused
            self.cut += worker.cut
        return statuses


class Worker:
    """One client."""

    def __init__(self, load: Load, number: int) -> None:
        self.load, self.number = load, number
        self.chance = random.Random(number)
        self.client = Client(load.service)
        self.reader = Client(load.replica) if load.replica else self.client
        self.refused: Counter[tuple[int, int]] = Counter()
        self.cut: Counter[int] = Counter()
        #: What must be read, and the stage at which it was stored, the oldest first.
        self.there: dict[str, tuple[bytes, int]] = {}
        #: Keys that are deleted, and since which stage.
        self.gone: dict[str, int] = {}

    def run(self, proofs: int) -> Counter[str]:
        for index in range(proofs):
            # A part of them are manifests of signed images, the others nobody's.
            is_real = index % 4 == 1
            body = self.chance.choice(self.load.corpus) if is_real else self._anything()
            key = f"w{self.number:02}/{index}.{'json' if body.startswith(b'{') else 'c2pa'}"
            self._store(key, body)
            if index % 5 == 0 and key in self.there:
                self._read(key)
            if index % 5 == 2:
                self._read(self.chance.choice([*self.there, *self.gone]))
            if index % 5 == 4 and self.there:
                # In turns the one stored last and the one that has been there for longest.
                self._delete(list(self.there)[-1 if index % 2 else 0])
            if index % 10 == 9 and self.gone:
                self._store(list(self.gone)[-1 if index % 20 > 10 else 0], self._anything())
        return self.client.statuses + (self.reader.statuses if self.load.replica else Counter())

    def _anything(self) -> bytes:
        return self.chance.randbytes(self.chance.randint(1_000, 8_000))

    def _call(self, client: Client, method: str, key: str, body: bytes | None = None) -> tuple[int, bytes]:
        stage = self.load.stage
        status, content = client.call(method, key, body)
        if status == 0:
            self.cut[stage] += 1
        return status, content

    def _store(self, key: str, body: bytes) -> None:
        stage = self.load.stage
        self.gone.pop(key, None)
        if self._call(self.client, "PUT", key, body)[0] == 201:
            self.load.ledger.stored(key, body)
            self.there[key] = body, stage
        else:
            self.load.ledger.maybe_stored(key, body)

    def _delete(self, key: str) -> None:
        stage = self.load.stage
        del self.there[key]
        if self._call(self.client, "DELETE", key)[0] == 204:
            self.load.ledger.deleted(key)
            self.gone[key] = stage
        else:
            self.load.ledger.maybe_deleted(key)

    def _read(self, key: str) -> None:
        """What must be there has its bytes, and what must not is absent, or it is not known."""
        if key in self.gone and self.load.replica:
            # Another replica learns of a delete a moment later.
            return
        status, found = self._call(self.reader, "GET", key)
        if key in self.there:
            body, stage = self.there[key]
            assert status != 404, f"{key} is lost"
            assert status != 200 or found == body, f"{key} is not what was stored"
        else:
            stage = self.gone[key]
            assert status != 200, f"{key} is back"
        if status == 503:
            self.refused[stage, self.load.stage] += 1


def failures(statuses: Counter[str]) -> dict[str, int]:
    """Answers that a client would not have had without an outage."""
    return {answer: count for answer, count in statuses.items() if answer not in FINE}


def methods(statuses: Counter[str]) -> Counter[str]:
    """How often each method was asked for, whatever the answer."""
    made: Counter[str] = Counter()
    for answer, count in statuses.items():
        made[answer.split()[0]] += count
    return made


def calls(proofs: int) -> Counter[str]:
    """How often each method is asked for by a load of which nothing fails."""
    made: Counter[str] = Counter()
    for index in range(proofs // CLIENTS):
        made["PUT"] += 1 + (index % 10 == 9)
        made["GET"] += index % 5 in (0, 2)
        made["DELETE"] += index % 5 == 4
    return Counter({method: CLIENTS * count for method, count in made.items()})
