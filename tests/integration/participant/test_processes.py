"""Worker processes that end, cleanly or not, and what becomes of what they had prepared."""

import secrets

import pytest

from coordination.bus.topology import ALL
from coordination.protocol import gid as gids
from coordination.protocol.messages import Stop
from coordination.protocol.states import Decision, Outcome
from tests.integration.participant.looking import ENV, LEDGER, ODD, one_vote, prepared, rows
from tests.integration.participant.standin import Manager
from tests.services import Process, Site


def test_a_killed_workers_work_is_finished_by_another(worker: Process, site: Site, manager: Manager) -> None:
    """Row 15. Any agent that has the database does, through the recovery queue."""
    manager.send(ODD + "waits", 0, alias=LEDGER)
    manager.send("demo.tasks.write_entries", 2, number=2, alias="demo_crm", rows=1, fail_at=0, seconds=0)
    with site.worker("solo", 1, env=ENV) as doomed:
        for number in range(3, 9):
            manager.send(ODD + "waits", 0.2, number=number, alias=LEDGER)
        manager.wait(lambda: len(manager.votes) == 8)
        doomed.kill()
    # As a manager does with its decision: the message the dead worker had not acknowledged is delivered again, and
    # must not be worked on any more.
    manager.tell(ALL, Stop(batch=manager.batch))
    for vote in manager.votes:
        manager.recover(vote.alias, manager.order(vote, Decision.COMMIT))
    manager.wait(lambda: len(manager.ends) == 8)
    assert {end.outcome for end in manager.ends.values()} == {Outcome.COMMITTED}
    assert rows(site, manager) == 7
    assert prepared(site, manager) == []


def test_the_sweep_speaks_for_orphans(worker: Process, site: Site, manager: Manager) -> None:
    """Rows 14, 36. A prepared transaction of ours that nobody votes for; others' are never touched."""
    orphan, stranger = (
        gids.build(installation=i, batch=manager.batch, branch=1, round=0, token=secrets.token_hex(8))
        for i in (site.installation, "0badf00d")
    )
    with site.postgres.connect("demo_warehouse") as session:
        for gid in (orphan, stranger):
            session.execute(f"BEGIN; CREATE TABLE t_{gid[-16:]} ()")
            session.execute(f"PREPARE TRANSACTION '{gid}'")
    one_vote(manager, Decision.COMMIT, 25)
    (vote,) = manager.votes
    assert (vote.gid, vote.members, vote.alias) == (orphan, (1,), "demo_warehouse")
    manager.recover("demo_warehouse", manager.order(vote, Decision.ROLLBACK))
    manager.wait(lambda: manager.ends)
    assert prepared(site, manager) == [stranger]
    site.query("demo_warehouse", f"ROLLBACK PREPARED '{stranger}'")


def test_recycled_children(site: Site, manager: Manager, apart: str) -> None:
    """Row 21. A child for each task: each has an agent of its own, votes through it, and leaves no mailbox behind."""
    with site.worker("prefork", 2, apart, "--max-tasks-per-child=1", env=ENV) as worker:
        for number in range(1, 9):
            manager.send(ODD + "waits", 0, number=number, alias="demo_ledger")
        manager.wait(lambda: len(manager.votes) == 8, 40)
        assert len({*manager.processes.values()}) == 8
        manager.decide(Decision.ROLLBACK, manager.votes)
        for vote in manager.votes:
            manager.recover(LEDGER, manager.order(vote, Decision.ROLLBACK))
        manager.wait(lambda: len(manager.ends) == 8)
        worker.stop()
    names = [name for name in site.rabbitmq.queues() if any(p in name for p in manager.processes.values())]
    assert names == []


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_clean_stop(site: Site, manager: Manager, apart: str, pool: str) -> None:
    """What is prepared stays so, the vote has left, the mailbox is gone."""
    with site.worker(pool, 2, apart, env=ENV) as worker:  # type: ignore[arg-type]
        manager.send(ODD + "waits", 1, alias=LEDGER)
        manager.wait(lambda: manager.starts)
        worker.stop()
    one_vote(manager, Decision.COMMIT)
    (vote,) = manager.votes
    assert prepared(site, manager) == [vote.gid]
    assert not [name for name in site.rabbitmq.queues() if manager.processes[vote.gid] in name]
    site.query(LEDGER, f"ROLLBACK PREPARED '{vote.gid}'")
