"""Two Garage servers as two stores of one service: one goes away and returns, under load."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from faultproxy import FaultProxy
from garage import Cluster
from ledger import Ledger
from load import CLIENTS, READERS, Load, Readers, calls, failures, methods
from places import poll
from pools import Pool, check_twice, complete, settled, shown
from s3 import Bucket
from sabotage import sabotage
from signing import manifests

PROOFS = 2_400

Stores = tuple[Cluster, Cluster]


@dataclass(frozen=True)
class Outage:
    """How the first store goes away and returns, and the way to it."""

    what: str
    begin: Callable[[], None]
    end: Callable[[], None]
    bucket: Bucket


@pytest.fixture(params=["killed", "dark silent", "dark unreachable"])
def outage(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Outage]:
    """Its process is killed; or it is well, and the wire takes connections and lets nothing through until
    the end, when also requests arrive that were given up long ago; or not even those.
    """
    bucket, node = stores[0].bucket, stores[0].nodes[0]
    if request.param == "killed":
        yield Outage("killed and started again", node.kill, node.start, bucket)
        return
    with FaultProxy(node.s3_port) as wire:
        yield Outage(
            f"behind a wire that goes {request.param}",
            lambda: wire.tell(request.param),
            lambda: wire.tell("light"),
            replace(bucket, endpoint=wire.endpoint),
        )


def test_fallback_a_store_goes_away_and_returns(
    stores: Stores, outage: Outage, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger, second = Ledger(), stores[1].bucket
    pool = Pool(tmp_path, "fallback", (outage.bucket, second))
    with pool.replica() as service:
        poll(lambda: complete(service))
        load = Load(service, ledger, PROOFS, manifests())
        load.wait_for(PROOFS // 3)
        outage.begin()
        load.stage = 1
        load.wait_for(2 * PROOFS // 3)
        waiting = shown(service)["repairs_pending"]
        assert waiting, "nothing was taken over"
        load.stage = 2
        outage.end()
        statuses = load.finish()
        # Of what was stored or deleted before it went away, nobody else knows; all else goes on.
        assert set(failures(statuses)) <= {"GET 503"}, statuses
        assert load.refused[0, 1] > 0, "nobody read what only the dark store has"
        assert {written for written, _ in load.refused} == {0}, load.refused
        assert all(answered > 0 for _, answered in load.refused), load.refused
        began = time.monotonic()
        poll(lambda: settled(service))
        drained = time.monotonic() - began
        assert not check_twice(service, ledger)
        assert not pool.names(second), "what was taken over has moved home"
        assert pool.names(stores[0].bucket) == ledger.kept
        figures(
            f"fallback, the first of two stores {outage.what} under {CLIENTS} clients: {dict(statuses)}; "
            f"{waiting} repairs when it came back, done {drained:.0f} s after the load; 0 lost, 0 altered, "
            "0 resurrected, also after a restart"
        )

        # Negative control: what is done behind the service's back is found.
        expected = sabotage(service, ledger, [stores[0].bucket], pool.prefix)
        assert ledger.check(Readers(service), READERS) == expected


def test_fallback_a_store_is_silent_and_the_service_is_killed_meanwhile(
    stores: Stores, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger, node = Ledger(), stores[0].nodes[0]
    pool = Pool(tmp_path, "fallback", (stores[0].bucket, stores[1].bucket))
    assert node.process is not None
    with pool.replica() as service:
        poll(lambda: complete(service))
        load = Load(service, ledger, PROOFS, manifests())
        load.wait_for(PROOFS // 4)
        # It takes connections and says nothing.
        node.process.send_signal(signal.SIGSTOP)
        load.stage = 1
        try:
            load.wait_for(PROOFS // 2)
            assert service.process is not None
            service.process.kill()
            service.process.wait()
            load.stage = 2
            shutil.rmtree(service.directory / "data")
            service.start()
            load.wait_for(3 * PROOFS // 4)
        finally:
            node.process.send_signal(signal.SIGCONT)
        statuses = load.finish()
        # What only the silent store knows, or what was cut off with the service itself.
        assert set(failures(statuses)) <= {"GET 503", "PUT 0", "GET 0", "DELETE 0"}, statuses
        assert set(load.cut) == {1}, load.cut
        assert {written for written, _ in load.refused} == {0}, load.refused
        assert not check_twice(service, ledger)
        assert ledger.kept - ledger.doubted <= pool.names(stores[0].bucket) <= ledger.kept | ledger.doubted
        assert not pool.names(stores[1].bucket)
        figures(
            f"fallback, the first of two stores silent, the service killed and started on an empty disk "
            f"meanwhile: {dict(statuses)}; 0 lost, 0 altered, 0 resurrected"
        )


def test_mirror_either_store_goes_away_and_nobody_notices(
    stores: Stores, outage: Outage, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger, (first, second) = Ledger(), stores
    pool = Pool(tmp_path, "mirror", (outage.bucket, second.bucket))
    with pool.replica() as service:
        poll(lambda: complete(service))
        load = Load(service, ledger, PROOFS, manifests())
        load.wait_for(PROOFS // 3)
        outage.begin()
        load.wait_for(2 * PROOFS // 3)
        waiting = shown(service)["repairs_pending"]
        assert waiting, "nothing was missed by the store that is away"
        outage.end()
        statuses = load.finish()
        assert not failures(statuses), statuses
        assert methods(statuses) == calls(PROOFS)
        poll(lambda: settled(service))
        assert pool.names(first.bucket) == pool.names(second.bucket) == ledger.kept
        # The one that was away has everything.
        second.nodes[0].kill()
        try:
            assert not ledger.check(Readers(service), READERS)
        finally:
            second.nodes[0].start()
        assert not check_twice(service, ledger)
        figures(
            f"mirror, the first of two stores {outage.what} under {CLIENTS} clients, then the second one killed "
            f"while all is read back: {dict(statuses)}; {waiting} repairs when it came back; 0 lost, 0 altered, "
            "0 resurrected, also after a restart"
        )

        # Negative control: what is done behind the service's back is found.
        poll(lambda: settled(service))
        expected = sabotage(service, ledger, [first.bucket, second.bucket], pool.prefix)
        assert ledger.check(Readers(service), READERS) == expected
