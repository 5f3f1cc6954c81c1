"""Two Garage servers as two stores: a second replica of the service, and a store that is set back to a backup."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from garage import Cluster, Node
from ledger import Findings, Ledger
from load import CLIENTS, PATIENCE, READERS, Client, Load, Readers, failures
from places import poll
from pools import Pool, complete, settled, shown
from service import Service
from signing import manifests

Stores = tuple[Cluster, Cluster]

PROOFS = 1_600
#: Fewer where the load is only to be there.
BEFORE = 480
#: In tenths of a second: leases run out, marks are put anew, members are compared, and what has returned must be two
#: minutes old.
LONG = 2_400


def test_a_second_replica_sees_an_outage_of_the_first_and_ends_it(
    stores: Stores, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger, home = Ledger(), stores[0].nodes[0]
    pool = Pool(tmp_path, "fallback", (stores[0].bucket, stores[1].bucket))
    with pool.replica() as first, pool.replica() as second:
        for service in (first, second):
            poll(lambda service=service: complete(service))
        # The first one writes, the second one reads what was just acknowledged.
        load = Load(first, ledger, PROOFS, manifests(), replica=second)
        load.wait_for(PROOFS // 3)
        home.kill()
        try:
            load.stage = 1
            statuses = load.finish()
            assert set(failures(statuses)) <= {"GET 503"}, statuses
            assert load.refused[0, 1] > 0, "nobody read what only the dark store has"
            assert {written for written, _ in load.refused} == {0}, load.refused
            # It hears of deletes when it next reads what is written down.
            gone = {key for worker in load.workers for key, stage in worker.gone.items() if stage == 1}
            reader = Client(second)
            poll(lambda: all(reader.call("GET", key)[0] == 404 for key in gone))
            # The one that took it all is gone before the home returns, with its disk.
            waiting = shown(second)["repairs_pending"]
            assert first.process is not None
            first.process.kill()
            first.process.wait()
        finally:
            home.start()
        poll(lambda: settled(second), LONG)
        assert not ledger.check(Readers(second, PATIENCE), READERS)
        assert pool.names(stores[0].bucket) == ledger.kept
        assert not pool.names(stores[1].bucket), "what was taken over has moved home"
        with pool.replica() as third:
            poll(lambda: complete(third))
            assert not ledger.check(Readers(third, PATIENCE), READERS)
        figures(
            f"fallback, two replicas: one writes ({CLIENTS} clients), the other one reads; the first store is killed, "
            f"later the writer: {dict(statuses)}; the other one ends the {waiting} repairs; 0 lost, 0 altered, "
            f"0 resurrected; it answered 404 for all {len(gone)} deletes of the outage"
        )


def go_on(service: Service, ledger: Ledger, again: int) -> Findings:
    """Deletes every third proof, stores so many of these anew, and stores new ones; gives what a check would
    find if nothing of it had been.
    """
    client, chance, deleted = Client(service), random.Random(0), sorted(ledger.kept)[::3]
    new = [f"since/{number}.c2pa" for number in range(BEFORE // 4)]
    for key in deleted:
        assert client.call("DELETE", key)[0] == 204
        ledger.deleted(key)
    for key in deleted[:again] + new:
        body = chance.randbytes(4_000)
        assert client.call("PUT", key, body)[0] == 201
        ledger.stored(key, body)
    return Findings(sorted(new), deleted[:again], deleted[again:])


def set_back(node: Node, backup: Path, meanwhile: Callable[[], Findings]) -> Findings:
    """A backup is made, life goes on, and the node is lost and restored from it; gives what it missed."""
    node.kill()
    node.back_up(backup)
    node.start()
    found = meanwhile()
    node.kill()
    node.restore(backup)
    node.start()
    return found


def test_mirror_a_store_restored_from_an_old_backup_brings_nothing_back_once_compared(
    stores: Stores, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    ledger, pool = Ledger(), Pool(tmp_path, "mirror", (stores[0].bucket, stores[1].bucket))
    with pool.replica() as service:
        poll(lambda: complete(service))
        assert not failures(Load(service, ledger, BEFORE, manifests()).finish())

        bucket = stores[0].bucket

        def meanwhile() -> Findings:
            marks = pool.records(bucket, "now/clock/")
            poll(lambda: settled(service))
            found = go_on(service, ledger, again=0)
            poll(lambda: settled(service))
            # A backup is noticed by the marks that it lacks: it is older than those that are there.
            poll(lambda: pool.records(bucket, "now/clock/").isdisjoint(marks), LONG)
            return found

        missed = set_back(stores[0].nodes[0], tmp_path / "backup", meanwhile)
        poll(lambda: pool.names(bucket) == ledger.kept, LONG)
        poll(lambda: settled(service) and complete(service), LONG)
        assert not ledger.check(Readers(service, PATIENCE), READERS)
        assert pool.names(bucket) == pool.names(stores[1].bucket) == ledger.kept
        figures(
            f"mirror, the first store set back to a backup: it lacked {len(missed.lost)} proofs and had "
            f"{len(missed.resurrected)} that were deleted; once it was compared: 0 lost, 0 altered, 0 resurrected"
        )


def test_fallback_a_home_restored_from_an_old_backup_is_what_it_was_then(
    stores: Stores, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """As docs/POOL.md says: nobody else knows what was done since. Nothing older is harmed.

    It is the control of the test above, too: a store that is set back has what was deleted since.
    """
    ledger, pool = Ledger(), Pool(tmp_path, "fallback", (stores[0].bucket, stores[1].bucket))
    with pool.replica() as service:
        poll(lambda: complete(service))
        assert not failures(Load(service, ledger, BEFORE, manifests()).finish())

        def meanwhile() -> Findings:
            poll(lambda: settled(service))
            return go_on(service, ledger, again=BEFORE // 8)

        missed = set_back(stores[0].nodes[0], tmp_path / "backup", meanwhile)
        poll(lambda: settled(service), LONG)
        assert ledger.check(Readers(service, PATIENCE), READERS) == missed
        figures(
            f"fallback, the home set back to a backup: {len(missed.lost)} proofs stored since are lost, "
            f"{len(missed.resurrected)} deleted since are back, {len(missed.altered)} as they were; all others whole"
        )
