"""Databases that die, run out of slots, or are used by others, under real workers."""

import contextlib
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from coordination.protocol import gid as gids
from coordination.protocol.holdings import Holdings, SweepMemory
from coordination.protocol.messages import Resolved, ResolvedItem
from coordination.protocol.states import Decision, Outcome
from coordination.resources.registry import resource_of
from tests.faults.scripted import APPS, SHORT_LOCKS, launch
from tests.integration.batches import adopted, attempts, ended, field, in_state, nothing_left, prepared, rows
from tests.integration.participant.standin import Manager
from tests.services import Site

TASKS = "tests.faults.trouble.tasks."


@pytest.fixture(scope="module", autouse=True)
def node(whole_site: Site) -> Iterator[None]:
    """A node; the demo's customers."""
    whole_site.demo_data()
    with whole_site.node():
        yield


@pytest.fixture(scope="module")
def worker(whole_site: Site, node: None) -> Iterator[None]:
    """A worker whose tasks wait a second for a lock."""
    with whole_site.worker("threads", 4, env=SHORT_LOCKS):
        yield


def committed(site: Site, batch: str, tasks: int) -> None:
    """It committed, each task once, and nothing of it is left."""
    assert ended(site, batch) == "COMMITTED"
    assert rows(site, batch) == tasks == len(adopted(site, batch))
    nothing_left(site, batch)


def test_two_batches_lock_in_opposite_order(worker: None, orm: Site, tmp_path: Path) -> None:
    """Row 23. Each holds, prepared, what the other's second task waits for, on two servers: no detector sees that."""
    key, runs, go = secrets.randbelow(10**9) + 10**9, tmp_path / "runs", tmp_path / "go"
    one = launch(["locks", "ledger", key, runs], ["locks", "crm", key, runs, go])
    other = launch(["locks", "crm", key, runs], ["locks", "ledger", key, runs, go], customer="globex")
    orm.wait_until(lambda: in_state(orm, one, "PREPARED") == in_state(orm, other, "PREPARED") == 1, 30)
    go.touch()
    ends = {batch: ended(orm, batch) for batch in (one, other)}
    assert "ROLLED_BACK" in ends.values()
    for batch, elses in ((one, other), (other, one)):
        if ends[batch] == "ROLLED_BACK":
            reason = field(orm, batch, "reason")
            assert "lock timeout" in reason and f"held by task 1 of batch {elses}" in reason
        assert rows(orm, batch) == (2 if ends[batch] == "COMMITTED" else 0)
    nothing_left(orm, one, other)


@pytest.mark.parametrize("when", ["before the decision", "after it"])
def test_killed_with_branches_prepared(worker: None, orm: Site, tmp_path: Path, when: str) -> None:
    """Row 32. They are prepared after its restart as well, and are committed; so is what the others have."""
    runs, go = tmp_path / "runs", tmp_path / "go"
    batch = launch(*[["writes", "crm"]] * 5, ["waits", "ledger", runs, go])
    orm.wait_until(lambda: in_state(orm, batch, "PREPARED") == 5, 30, what="five prepared")
    held = prepared(orm, batch)
    orm.postgres2.kill()
    try:
        if when == "after it":
            go.touch()
            orm.wait_until(lambda: field(orm, batch, "state") == "COMMITTING", 30, what="the decision")
    finally:
        orm.postgres2.start()
    assert held <= prepared(orm, batch)
    go.touch()
    committed(orm, batch, 6)
    assert set(attempts(orm, batch).values()) == {1}


def test_no_slots_left(worker: None, orm: Site, tmp_path: Path) -> None:
    """Row 34. A stranger takes the slots after the batch was admitted: a vote with the server's words."""
    runs, go, server = tmp_path / "runs", tmp_path / "go", orm.postgres2
    before = server.settings["max_prepared_transactions"]
    server.restart(max_prepared_transactions=3)
    strangers = []
    try:
        batch = launch(["writes", "crm"], ["waits", "crm", runs, go])
        orm.wait_until(lambda: in_state(orm, batch, "PREPARED") == 1 and runs.exists(), 30, what="one prepared")
        with contextlib.suppress(psycopg.errors.OutOfMemory), server.connect("demo_crm") as stranger:
            for number in range(3):
                stranger.execute(f"BEGIN; CREATE TABLE stranger_{number} ()")
                stranger.execute(f"PREPARE TRANSACTION 'stranger {number}'")
                strangers.append(number)
        assert len(strangers) == 2
        go.touch()
        assert ended(orm, batch) == "ROLLED_BACK"
        reason = field(orm, batch, "reason")
        assert "maximum number of prepared transactions reached" in reason and "max_prepared_transactions" in reason
        assert rows(orm, batch) == 0
        # And the next waits, and says for what.
        second = launch(*[["writes", "crm"]] * 2)
        words = orm.wait_until(lambda: field(orm, second, "waiting_for"), 20, what="what the next waits for")
        assert words == "2 prepared slots on demo_crm, 1 free"
    finally:
        for number in strangers:
            server.query("demo_crm", f"ROLLBACK PREPARED 'stranger {number}'")
        server.restart(max_prepared_transactions=before)
    committed(orm, second, 2)
    nothing_left(orm, batch)


def test_two_resolvers_on_one_gid(worker: None, orm: Site) -> None:
    """Row 35. Each gid is ordered twice at the same time: one does it, the other proves what it was."""
    manager = Manager(orm.rabbitmq, of=20)
    with orm.worker("prefork", 2, env=APPS):
        try:
            for number in range(1, 21):
                manager.send(TASKS + "writes", number=number, alias="demo_ledger")
            manager.wait(lambda: len(manager.votes) == 20, 40)
            for vote in manager.votes:
                manager.tell(manager.processes[vote.gid], manager.order(vote, Decision.COMMIT))
                for _ in range(3):
                    manager.recover("demo_ledger", manager.order(vote, Decision.COMMIT))
            manager.wait(lambda: len(manager.ends) == 20 and len(_reports(manager)) > 20, 40)
        finally:
            manager.close()
    assert {item.outcome for item in _reports(manager)} == {Outcome.COMMITTED}
    print("how:", Counter(item.how for item in _reports(manager)))
    assert orm.value("demo_ledger", "SELECT count(*) FROM demo_entry WHERE batch_id = %s", [manager.batch]) == 20


def _reports(manager: Manager) -> list[ResolvedItem]:
    return [item for message in manager.heard if isinstance(message, Resolved) for item in message.items]


def test_strangers_are_never_touched(worker: None, orm: Site) -> None:
    """Row 36. Of another installation, of somebody else, and one that only begins as ours do: all pass them by."""
    other = gids.build(installation="0badf00d", batch=uuid4(), branch=1, round=0, token=secrets.token_hex(8))
    strangers = {other, f"payroll-{secrets.token_hex(4)}", f"cc_{orm.installation}_payroll"}
    with orm.postgres.connect("demo_ledger") as session:
        for gid in strangers:
            session.execute(f"BEGIN; CREATE TABLE t_{secrets.token_hex(4)} ()")
            session.execute(f"PREPARE TRANSACTION '{gid}'")
    try:
        good, bad = launch(*[["writes", "ledger"]] * 3), launch(["writes", "ledger"], ["fails", "ledger"])
        assert (ended(orm, good), ended(orm, bad)) == ("COMMITTED", "ROLLED_BACK")
        # What a sweep would see and do when they are old.
        found = [replace(each, age=1000.0) for each in resource_of("demo_ledger").recover()]
        votes = SweepMemory(orm.installation).choose(found, Holdings("nobody"))
        assert strangers.isdisjoint(item.gid for _, item in votes)
        assert strangers <= {gid for _, gid in orm.postgres.prepared()}
    finally:
        for gid in strangers:
            orm.query("demo_ledger", f"ROLLBACK PREPARED '{gid}'")
    nothing_left(orm, good, bad)
