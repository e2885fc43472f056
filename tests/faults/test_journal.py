"""The journal's database fails at the decision, and two want to decide in the same instant."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from django.utils import timezone

from coordination.crashpoints import Point
from coordination.journal import claims, writer
from coordination.journal.claims import Claim
from coordination.models import Batch, Branch, Customer
from coordination.protocol import gid
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.messages import VoteItem, Votes
from coordination.protocol.states import BatchState, BranchState, Decision, Kind
from coordination.protocol.stored import WriteResult
from tests.faults.crashing import Crash
from tests.integration.batches import attempts, doubled, ended, field, nothing_left, rows, start
from tests.services import Site

ROUNDS = 1000


@pytest.fixture(scope="module")
def working(whole_site: Site) -> Iterator[Site]:
    """Customers and a worker; the nodes are each test's own."""
    whole_site.demo_data()
    with whole_site.worker("prefork", 2):
        yield whole_site


@pytest.fixture
def crash(tmp_path: Path) -> Crash:
    return Crash(tmp_path)


# --- its server is stopped ------------------------------------------------------------------------------------------


def test_the_journal_dies_before_the_decision_is_stored_and_right_after(
    working: Site, site: Site, crash: Crash
) -> None:
    """Row 9. Not stored: it is decided again. Stored, not told: it is told. The node reads the journal in between."""
    node = site.node(env=crash.at("decision.before=wait", "decision.stored=wait"))
    batch = start(site, tasks=9, fail_at=0, seconds=0.05)
    crash.struck(site, Point.DECIDING)
    site.postgres.stop("immediate")
    crash.go(Point.DECIDING)
    node.wait_for(f"Batch {batch}: the journal did not answer", 20)
    site.postgres.start()

    crash.struck(site, Point.DECIDED)
    site.postgres.stop("immediate")
    site.postgres.start()
    assert (field(site, batch, "decision"), field(site, batch, "state")) == ("COMMIT", "COMMITTING")
    crash.go(Point.DECIDED)
    assert ended(site, batch) == "COMMITTED"
    nothing_left(site, batch)
    assert (rows(site, batch), doubled(site, batch)) == (90, [])
    assert node.alive


def test_the_journal_dies_with_the_decision_stored_and_its_answer_lost(
    working: Site, site: Site, crash: Crash
) -> None:
    """Row 9. The write is taken for unknown, not for failed: what was stored is found and carried out."""
    node = site.node(env=crash.at("decision.before=wait"))
    batch = start(site, tasks=9, fail_at=0, seconds=0.05)
    crash.struck(site, Point.DECIDING)
    # A server that waits for a standby has a commit on its disk long before it says so.
    site.postgres.query("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    site.postgres.query("postgres", "SELECT pg_reload_conf()")
    crash.go(Point.DECIDING)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'"
    site.wait_until(lambda: site.value("default", waits), 10, every=0.02, what="a commit that gets no answer")
    assert field(site, batch, "decision") is None  # Nobody sees it yet.
    site.postgres.query("postgres", "ALTER SYSTEM RESET synchronous_standby_names")
    site.postgres.stop("immediate")
    node.wait_for(f"Batch {batch}: the journal did not answer", 20)
    assert "decided" not in node.log
    site.postgres.start()
    assert field(site, batch, "decision") == "COMMIT"
    assert ended(site, batch) == "COMMITTED"
    nothing_left(site, batch)
    assert (rows(site, batch), doubled(site, batch), set(attempts(site, batch).values())) == (90, [], {1})


# --- two at once ----------------------------------------------------------------------------------------------------


def test_the_last_vote_and_the_deadline_in_the_same_instant(orm: Site) -> None:
    """Row 7. A thousand rounds of two managers, each on a connection of its own: the journal lets one of them win."""
    orm.demo_data()
    batches = waiting_for_one_vote(ROUNDS)
    try:
        loaded = [claims.load(Claim(batch=batch, epoch=1)) for batch in batches]
        cores = [[Coordinator(each.snapshot) for _ in range(2)] for each in loaded if each is not None]
        results: list[list[WriteResult]] = [[], []]
        together = threading.Barrier(2)

        def decide(side: int) -> None:
            try:
                for batch, pair in zip(batches, cores, strict=True):
                    core = pair[side]
                    if side:
                        core.deadline_passed()
                    else:
                        core.receive(last_vote(batch), object())
                    write = core.next_write()
                    assert write is not None and write.decision is not None
                    together.wait(30)
                    results[side].append(writer.store(batch, 1, write, core.counts()))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=decide, args=(side,)) for side in range(2)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        won = Counter(zip(*results, strict=True))
        print(f"\n{ROUNDS} rounds in {took:.1f} s; the vote and the deadline: {dict(won)}")
        assert won.total() == ROUNDS
        assert set(won) <= {
            (WriteResult.STORED, WriteResult.UNTOUCHED), (WriteResult.UNTOUCHED, WriteResult.STORED)
        }  # fmt: skip
        for batch, vote in zip(batches, results[0], strict=True):
            voted = vote is WriteResult.STORED
            found = Batch.objects.get(pk=batch)
            gids = set(found.branches.values_list("gid", flat=True))
            assert found.decision == (Decision.COMMIT if voted else Decision.ROLLBACK)
            assert (gid_of(batch, 2) in gids) == voted and gid_of(batch, 1) in gids
    finally:
        Batch.objects.filter(pk__in=batches).delete()


def gid_of(batch: uuid.UUID, number: int) -> str:
    return gid.build(installation="0123abcd", batch=batch, branch=number, round=0, token="0" * 16)


def last_vote(batch: uuid.UUID) -> Votes:
    item = VoteItem(
        vote=Decision.COMMIT, gid=gid_of(batch, 2), members=(2,), round=0, alias="demo_ledger", kind=Kind.TWO_PHASE
    )
    return Votes(batch=batch, process="one", items=(item,))


def waiting_for_one_vote(count: int) -> list[uuid.UUID]:
    """Batches of two tasks, the first of which is prepared, claimed by nobody who is here."""
    acme, now = Customer.objects.get(slug="acme"), timezone.now()
    batches = [
        Batch(
            customer=acme, plan="demo", tasks=2, state=BatchState.ACTIVE, guarantee="crash_safe", epoch=1, start_by=now,
            deadline_seconds=900, dispatched=now, deadline=now,
        )
        for _ in range(count)
    ]  # fmt: skip
    Batch.objects.bulk_create(batches)
    Branch.objects.bulk_create(
        Branch(
            batch=batch, number=number, task="demo.tasks.write_entries", name="one", database="ledger",
            alias="demo_ledger", sent=True, state=BranchState.PREPARED if number == 1 else BranchState.RUNNING,
            gid=gid_of(batch.pk, 1) if number == 1 else None, kind=Kind.TWO_PHASE if number == 1 else None,
        )
        for batch in batches
        for number in (1, 2)
    )  # fmt: skip
    return [batch.pk for batch in batches]
