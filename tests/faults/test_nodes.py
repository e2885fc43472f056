"""Nodes that die, stop and leave at the worst moments: their batches go on, and nobody does harm."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from coordination.crashpoints import Point
from coordination.protocol import gid
from tests.faults.crashing import Crash, killed, name_of
from tests.faults.voting import bind_mailbox, delete_queue, vote_again
from tests.integration.batches import (
    adopted,
    attempts,
    doubled,
    ended,
    field,
    in_state,
    nothing_left,
    prepared,
    rows,
    start,
)
from tests.services import Process, Site

MANY = 1000
"""Tasks of a batch that is dispatched in two chunks."""


@pytest.fixture(scope="module")
def worker(whole_site: Site) -> Iterator[Process]:
    """Customers and a worker of two processes; nodes are each test's own."""
    whole_site.demo_data()
    with whole_site.worker("prefork", 2) as worker:
        yield worker


@pytest.fixture
def crash(tmp_path: Path) -> Crash:
    return Crash(tmp_path)


def on_the_broker(site: Site) -> int:
    """How many task messages wait or are being worked on."""
    return site.rabbitmq.queues()["celery"].messages


def number_sent(site: Site, batch: str) -> int:
    """How many of its tasks the journal has as sent."""
    return int(site.value("default", "SELECT count(*) FROM coordination_branch WHERE batch_id = %s AND sent", [batch]))


def test_killed_at_each_step_until_a_thousand_tasks_are_decided(worker: Process, site: Site, crash: Crash) -> None:
    """Rows 1, 2, 5, 46. One batch outlives the only node four times; each time the next node goes on where it was."""
    worker.suspend()
    node = site.node(env=crash.at("dispatch.sent=kill"))
    batch = start(site, tasks=MANY, fail_at=0, rows=1)
    killed(site, node, crash, Point.CHUNK_SENT)
    # Half of them are on the broker, and the journal knows of none.
    assert (on_the_broker(site), number_sent(site, batch)) == (MANY // 2, 0)

    node = site.node(env=crash.at("votes.stored=kill"))
    site.wait_until(lambda: number_sent(site, batch) == MANY, 20, what="all of them sent by the next node")
    assert on_the_broker(site) == MANY // 2 + MANY
    worker.resume()
    killed(site, node, crash, Point.VOTES_STORED)
    stored = adopted(site, batch)
    assert stored

    node = site.node(env=crash.at("decision.before=kill"))
    killed(site, node, crash, Point.DECIDING)
    held = prepared(site, batch)
    assert stored <= held and len(held) == MANY
    assert (field(site, batch, "decision"), field(site, batch, "state")) == (None, "ACTIVE")

    node = site.node(env=crash.at("decision.stored=kill"))
    killed(site, node, crash, Point.DECIDED)
    assert (field(site, batch, "decision"), rows(site, batch)) == ("COMMIT", 0)
    assert prepared(site, batch) == adopted(site, batch) == held  # Each voted for once, none of them a second work.

    began = time.monotonic()
    site.node()
    ready = time.monotonic() - began
    assert ended(site, batch) == "COMMITTED"
    took = time.monotonic() - began
    print(f"\n{MANY} prepared tasks committed {took:.1f} s after a node was started, which was ready in {ready:.1f} s")
    assert took < 10
    assert (rows(site, batch), doubled(site, batch), field(site, batch, "epoch")) == (MANY, [], 5)
    assert set(attempts(site, batch).values()) == {1}  # Also of those that were sent twice.
    nothing_left(site, batch)


def test_the_only_node_killed_in_the_middle_of_the_votes(worker: Process, site: Site) -> None:
    """Row 1. The next one goes on from the journal and from what waits in the batch's queue; nothing is done twice."""
    node = site.node()
    good = start(site, tasks=40, fail_at=0, seconds=0.25)
    bad = start(site, customer="globex", tasks=40, fail_at=40, seconds=0.05)
    site.wait_until(lambda: in_state(site, good, "PREPARED") >= 8, 30, what="eight votes stored")
    node.kill()
    stored = in_state(site, good, "PREPARED")
    held = prepared(site, good)
    assert 8 <= stored < 40
    # The worker goes on without a node: votes wait in the batch's queue.
    site.wait_until(lambda: len(prepared(site, good)) >= stored + 4, 30, what="votes nobody hears")
    assert rows(site, good) == 0
    site.node()
    assert (ended(site, good), ended(site, bad)) == ("COMMITTED", "ROLLED_BACK")
    assert (rows(site, good), doubled(site, good), rows(site, bad)) == (400, [], 0)
    assert held <= adopted(site, good)
    assert set(attempts(site, good).values()) == {1}
    assert field(site, good, "epoch") == 2
    nothing_left(site, good, bad)


def test_the_broker_loses_everything_while_no_node_runs(worker: Process, site: Site) -> None:
    """Votes nobody heard and tasks nobody began are gone: asked for and sent again, long before the deadline."""
    node = site.node()
    batch = start(site, tasks=60, fail_at=0, seconds=0.2)
    site.wait_until(lambda: in_state(site, batch, "PREPARED") >= 4, 30, what="four votes stored")
    node.kill()
    stored = in_state(site, batch, "PREPARED")
    site.wait_until(lambda: len(prepared(site, batch)) >= stored + 4, 30, what="votes nobody hears")
    site.rabbitmq.wipe()
    assert len(prepared(site, batch)) < 60
    site.node()
    assert ended(site, batch) == "COMMITTED"
    assert (rows(site, batch), doubled(site, batch)) == (600, [])
    nothing_left(site, batch)


def test_killed_while_and_after_it_tells_the_decision(worker: Process, site: Site, crash: Crash) -> None:
    """Rows 3, 4. Whoever has not heard it hears the same; telling it again is harmless."""
    node = site.node(env=crash.at("decision.stored=wait", "decision.told=kill"))
    good = start(site, tasks=12, fail_at=0, seconds=0.1)
    crash.struck(site, Point.DECIDED)
    # What is said to a process that has no mailbox is lost: of two processes one hears it before the node dies.
    sql = "SELECT process, array_agg(gid) FROM coordination_branch WHERE batch_id = %s GROUP BY 1 ORDER BY min(number)"
    _, (deaf, unheard) = site.query("default", sql, [good])
    bind_mailbox(site, deaf, bound=False)
    crash.go(Point.DECIDED)
    killed(site, node, crash, Point.TOLD_ONE)
    site.wait_until(lambda: prepared(site, good) == set(unheard), 10, what="the other one's part, done")
    bind_mailbox(site, deaf)

    node = site.node(env=crash.at("end.before=kill"))
    killed(site, node, crash, Point.ENDING)
    # All is done in the databases, and nobody has written down that it is.
    assert (rows(site, good), prepared(site, good)) == (120, set())
    assert field(site, good, "state") == "COMMITTING"

    node = site.node(env=crash.at("end.stored=kill"))
    killed(site, node, crash, Point.ENDED)
    assert (field(site, good, "state"), field(site, good, "queue_deleted")) == ("COMMITTED", False)

    site.node()
    nothing_left(site, good)
    assert (rows(site, good), doubled(site, good), set(attempts(site, good).values())) == (120, [], {1})


def test_a_node_that_slept_past_its_lease_does_no_harm(worker: Process, site: Site, crash: Crash) -> None:
    """Row 6. It is stopped with the decision in its hands; another takes over within 5 s and decides; then it wakes."""
    sleeper = site.node(env=crash.at("decision.before=stop"))
    batch = start(site, tasks=6, fail_at=0, seconds=0.3)
    mine = name_of(site, sleeper)
    site.wait_until(lambda: field(site, batch, "node") == mine, 10, what="its claim")
    other = site.node()
    stopped = crash.struck(site, Point.DECIDING)
    site.wait_until(lambda: field(site, batch, "node") == name_of(site, other), 15, every=0.02, what="the takeover")
    took = time.time() - stopped
    assert took < 5
    assert ended(site, batch) == "COMMITTED"
    decided = field(site, batch, "extract(epoch FROM decided)::float8") - stopped
    print(f"\ntaken over {took:.2f} s after the node stopped, and decided after {decided:.2f} s")
    assert decided < 10  # The sleeper's connection stands, and must not swallow what the other one waits for.
    nothing_left(site, batch)
    columns = "epoch, seq, decided, ended, node, state"
    before = site.query("default", f"SELECT {columns} FROM coordination_batch WHERE id = %s", [batch])
    sleeper.resume()
    sleeper.wait_for(f"drops its batches|Batch {batch} is dropped here", 10)
    # It is a node like any other again: two batches are shared by both.
    later = [start(site, tasks=3, fail_at=0), start(site, customer="globex", tasks=3, fail_at=2)]
    assert [ended(site, each) for each in later] == ["COMMITTED", "ROLLED_BACK"]
    assert sleeper.alive
    assert site.query("default", f"SELECT {columns} FROM coordination_batch WHERE id = %s", [batch]) == before
    assert (rows(site, batch), doubled(site, batch)) == (60, [])
    nothing_left(site, *later)


def test_votes_that_reach_nobody(worker: Process, site: Site, crash: Crash) -> None:
    """Row 31. Their batch's queue is gone, at the first vote and while it commits: they are strays, and answered."""
    strays = f"coordination.{site.installation}.strays"
    node = site.node(env=crash.at("decision.stored=wait"))
    batch = start(site, tasks=6, fail_at=0, seconds=0.7)
    site.wait_until(lambda: in_state(site, batch, "RUNNING"), 20, every=0.02, what="a task at work")
    node.suspend()
    delete_queue(site, batch)
    site.wait_until(lambda: len(prepared(site, batch)) == 6, 20, what="all prepared")
    site.wait_until(lambda: site.rabbitmq.queues()[strays].messages, 20, what="votes in the queue of strays")
    node.resume()

    crash.struck(site, Point.DECIDED)
    gids = adopted(site, batch)
    assert prepared(site, batch) == gids and len(gids) == 6  # Each process has kept its promise, and its gid.
    delete_queue(site, batch)
    process = str(site.value("default", "SELECT min(process) FROM coordination_branch WHERE batch_id = %s", [batch]))
    vote_again(site, gids, process)
    crash.go(Point.DECIDED)
    assert ended(site, batch) == "COMMITTED"
    assert (rows(site, batch), doubled(site, batch), set(attempts(site, batch).values())) == (60, [], {1})
    nothing_left(site, batch)

    # What a zombie prepares after the end, too: it was never adopted.
    zombie = gid.build(installation=site.installation, batch=UUID(batch), branch=1, round=0, token="f" * 16)
    with site.postgres.connect("demo_ledger") as session:
        session.execute("BEGIN; CREATE TABLE of_a_zombie ()")
        session.execute(f"PREPARE TRANSACTION '{zombie}'")
    vote_again(site, {zombie}, process)
    site.wait_until(lambda: not prepared(site, batch), 8, what="the zombie's work rolled back")
    site.wait_until(lambda: not site.rabbitmq.queues()[strays].messages, 20, what="no strays")


def test_a_worker_killed_with_five_hundred_prepared_after_the_decision(site: Site, crash: Crash) -> None:
    """Row 15. Another worker finishes them within ten seconds."""
    site.demo_data()
    doomed = site.worker("prefork", 2)
    site.node(env=crash.at("decision.stored=wait"))
    batch = start(site, tasks=500, fail_at=0, rows=1)
    crash.struck(site, Point.DECIDED)
    doomed.kill()
    assert len(prepared(site, batch)) == 500
    site.worker("prefork", 2)
    began = time.monotonic()
    crash.go(Point.DECIDED)
    assert ended(site, batch) == "COMMITTED"
    took = time.monotonic() - began
    print(f"\n500 tasks of a dead worker committed {took:.1f} s after the decision was told")
    assert took < 10
    assert (rows(site, batch), doubled(site, batch), in_state(site, batch, "COMMITTED")) == (500, [], 500)
    nothing_left(site, batch)
