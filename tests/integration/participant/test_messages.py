"""Messages that come twice, too late, or make no sense."""

import time
from pathlib import Path

from coordination.protocol.messages import Decided, Inquire, Started, Stop
from coordination.protocol.states import Decision, Outcome
from tests.integration.participant.looking import LEDGER, ODD, everything_acknowledged, one_vote, prepared, rows
from tests.integration.participant.standin import Manager
from tests.services import Process, Site, wait_until


def test_a_second_message_votes_for_what_is_prepared(worker: Process, site: Site, manager: Manager) -> None:
    """One effect, whoever is asked how often; the work is not done again."""
    manager.send(ODD + "waits", 0, alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    again = manager.send(ODD + "waits", 0, alias=LEDGER, again=True)
    manager.wait(lambda: len(manager.votes) == 2)
    first, second = manager.votes
    assert (first.gid, first.proof) == (second.gid, second.proof)
    assert len(manager.attempts) == 1 and prepared(site, manager) == [first.gid]
    manager.decide(Decision.COMMIT, manager.votes)
    manager.wait(lambda: manager.ends)
    assert rows(site, manager) == 1
    assert not site.query("default", "SELECT 1 FROM django_celery_results_taskresult WHERE task_id = %s", [again])
    everything_acknowledged(site, manager)


def test_a_failing_duplicate_votes_for_what_is_prepared(
    worker: Process, site: Site, manager: Manager, tmp_path: Path
) -> None:
    """Asked again before a ROLLBACK vote: the first run's promise holds."""
    manager.send(ODD + "waits", 0, alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    manager.send(ODD + "fails", alias=LEDGER)
    manager.wait(lambda: len(manager.votes) == 2)
    assert {(vote.vote, vote.gid) for vote in manager.votes} == {(Decision.COMMIT, manager.votes[0].gid)}
    manager.decide(Decision.ROLLBACK, manager.votes)
    manager.wait(lambda: manager.ends)


def test_a_decision_before_the_first_vote(worker: Process, site: Site, manager: Manager) -> None:
    """Row 19. The process learns it although it holds nothing yet: what is at work is undone, no more is begun."""
    manager.send(ODD + "waits", 1, alias=LEDGER)
    manager.wait(lambda: manager.starts)
    (process,) = {message.process for message in manager.heard if isinstance(message, Started)}
    manager.tell(process, Decided(batch=manager.batch, outcome=Decision.ROLLBACK, gids=()))
    manager.tell("all", Stop(batch=manager.batch))
    time.sleep(0.3)
    for number in range(2, 8):
        manager.send(ODD + "waits", 0, number=number, alias=LEDGER)
    everything_acknowledged(site, manager)
    wait_until(lambda: not prepared(site, manager), 10, what="nothing prepared")
    assert (len(manager.attempts), rows(site, manager)) == (1, 0)


def test_a_batch_that_is_over_starts_no_more_tasks(worker: Process, site: Site, manager: Manager) -> None:
    """Row 19. No process of a worker that has heard of the end begins one, also if it had none of them before."""
    manager.send(ODD + "waits", 0, alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    manager.tell("all", Stop(batch=manager.batch))
    time.sleep(0.3)
    for number in range(2, 12):
        manager.send(ODD + "waits", 0, number=number, alias=LEDGER)
    manager.send("demo.tasks.write_entries", 12, number=12, alias="demo_warehouse", rows=1, fail_at=0, seconds=0)
    time.sleep(1)
    manager.decide(Decision.ROLLBACK, manager.votes)
    manager.wait(lambda: manager.ends)
    assert len(manager.attempts) == 1
    assert prepared(site, manager) == []
    everything_acknowledged(site, manager)


def test_inquire_is_answered_with_votes(worker: Process, site: Site, manager: Manager) -> None:
    manager.send(ODD + "waits", 0, alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    manager.tell("all", Inquire(batch=manager.batch))
    manager.wait(lambda: len(manager.votes) == 2)
    assert manager.votes[0] == manager.votes[1]
    manager.decide(Decision.ROLLBACK, manager.votes)
    manager.wait(lambda: manager.ends)
    assert rows(site, manager) == 0 and prepared(site, manager) == []


def test_garbage_is_dropped(worker: Process, site: Site, manager: Manager) -> None:
    """And what comes after it is heard."""
    manager.send(ODD + "waits", 0, alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    (process,) = manager.processes.values()
    for body in (b"", b"{", b'{"v": 99}', b"\xff" * 1000, b'{"v": 1, "type": "votes"}'):
        manager.tell_raw(process, body)
    manager.decide(Decision.COMMIT, manager.votes)
    manager.wait(lambda: manager.ends)
    assert rows(site, manager) == 1


def test_an_order_for_what_does_not_exist(worker: Process, site: Site, manager: Manager) -> None:
    """Unknown, with the reason; and the recovery queue is empty afterwards."""
    manager.send(ODD + "waits", 0, alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    (vote,) = manager.votes
    site.query(LEDGER, f"ROLLBACK PREPARED '{vote.gid}'")
    manager.recover(LEDGER, manager.order(vote, Decision.COMMIT))
    manager.wait(lambda: manager.ends)
    assert manager.ends[vote.gid].outcome is Outcome.ROLLED_BACK
    queue = manager.names.recovery_queue(LEDGER)
    wait_until(lambda: site.rabbitmq.queues()[queue].messages == 0, 5, what="the order to be acknowledged")
