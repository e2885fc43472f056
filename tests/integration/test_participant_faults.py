"""Workers whose tasks, databases or broker misbehave: what they vote, and that they neither hang nor forget."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordination.protocol import gid as gids
from coordination.protocol.messages import Inquire, Stop
from coordination.protocol.states import Decision, Kind, Outcome
from orchestrator_site.celery import app
from tests.integration.standin import Manager
from tests.services import Process, Site, wait_until

ODD = "tests.integration.odd.tasks."
ENV = {"COORDINATION_APPS": "demo,tests.integration.odd"}
LEDGER = "demo_ledger"


@pytest.fixture(scope="module")
def worker(whole_site: Site) -> Iterator[Process]:
    """A prefork worker with two slots."""
    with whole_site.worker("prefork", 2, env=ENV) as process:
        yield process


@pytest.fixture
def manager(site: Site) -> Iterator[Manager]:
    """The stand-in, for a batch of one."""
    manager = Manager(site.rabbitmq)
    yield manager
    manager.close()


@pytest.fixture
def apart(manager: Manager) -> str:
    """A Celery queue that only this test's own worker reads."""
    manager.tasks_queue = f"apart-{manager.batch.hex[:8]}"
    return f"--queues={manager.tasks_queue}"


def rows(site: Site, manager: Manager) -> int:
    return int(site.value(LEDGER, "SELECT count(*) FROM demo_entry WHERE batch_id = %s", [manager.batch]))


def prepared(site: Site, manager: Manager) -> list[str]:
    return [gid for _, gid in site.postgres.prepared() if manager.batch.hex in gid]


def result(site: Site, task: str) -> tuple[str, str]:
    """How Celery says the task run ended: state, and traceback or value."""
    sql = "SELECT status, coalesce(traceback, result) FROM django_celery_results_taskresult WHERE task_id = %s"
    return wait_until(lambda: site.query("default", sql, [task]), 10, what="the task's result")[0]


def everything_acknowledged(site: Site, manager: Manager) -> None:
    """Of Celery's messages and of the mailboxes'."""
    names = [manager.tasks_queue, *(f"coordination.mailbox.{process}" for process in manager.processes.values())]
    wait_until(lambda: not any(site.rabbitmq.queues()[name].messages for name in names), 5, what="acknowledgements")


def one_vote(manager: Manager, vote: Decision, timeout: float = 20) -> str:
    """Wait for the one vote; returns its failure's words."""
    manager.wait(lambda: manager.votes, timeout)
    (item,) = manager.votes
    assert item.vote is vote, item
    return item.error.message if item.error else ""


# --- bodies ---------------------------------------------------------------------------------------------------------


def test_an_exception_is_a_rollback_vote(worker: Process, site: Site, manager: Manager) -> None:
    """With the author's traceback; and Celery's own result says FAILURE."""
    task = manager.send(ODD + "fails", alias=LEDGER)
    assert one_vote(manager, Decision.ROLLBACK) == "these numbers do not add up"
    failure = manager.votes[0].error
    assert failure is not None and failure.type == "ValueError"
    assert "odd/tasks.py" in failure.traceback and "execution.py" not in failure.traceback
    assert prepared(site, manager) == [] and rows(site, manager) == 0
    state, trace = result(site, task)
    assert state == "FAILURE" and "these numbers do not add up" in trace


@pytest.mark.parametrize(("body", "words"), [("swallows", "division by zero"), ("commits", "must not end or begin")])
def test_what_went_wrong_unsaid(worker: Process, site: Site, manager: Manager, body: str, words: str) -> None:
    task = manager.send(ODD + body, alias=LEDGER)
    assert words in one_vote(manager, Decision.ROLLBACK)
    assert prepared(site, manager) == [] and rows(site, manager) == 0
    assert result(site, task)[0] == "FAILURE"


def test_a_value_is_celerys_result_and_the_backend_is_kept(worker: Process, site: Site, manager: Manager) -> None:
    """One connection a child, over all its tasks."""
    tasks = [manager.send(ODD + "names_its_backend", number=n, alias=LEDGER) for n in range(1, 21)]
    manager.wait(lambda: len(manager.votes) == 20)
    manager.decide(Decision.COMMIT, manager.votes)
    manager.wait(lambda: len(manager.ends) == 20)
    backends = site.query(LEDGER, "SELECT DISTINCT value FROM demo_entry WHERE batch_id = %s", [manager.batch])
    assert len(backends) <= 2 * len({*manager.processes.values()})
    assert result(site, tasks[0]) == ("SUCCESS", '"its value"')


def test_only_reads(worker: Process, site: Site, manager: Manager) -> None:
    manager.send(ODD + "only_reads", alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    assert manager.votes[0].kind is Kind.READ_ONLY
    assert prepared(site, manager) == []


def test_retry_is_not_a_vote(worker: Process, site: Site, manager: Manager, tmp_path: Path) -> None:
    """Each attempt undoes its work and is counted by Celery; the last one votes."""
    manager.send(ODD + "unsteady", str(tmp_path / "count"), 2, alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    assert sorted(start.retries for start in manager.starts) == [0, 1, 2]
    assert len({start.token for start in manager.starts}) == 3
    manager.decide(Decision.COMMIT, manager.votes)
    manager.wait(lambda: manager.ends)
    assert rows(site, manager) == 1


def test_retries_run_out(worker: Process, site: Site, manager: Manager, tmp_path: Path) -> None:
    manager.send(ODD + "unsteady", str(tmp_path / "count"), 99, alias=LEDGER)
    assert "file server" in one_vote(manager, Decision.ROLLBACK)
    assert sorted(start.retries for start in manager.starts) == [0, 1, 2, 3]


def test_a_task_that_kills_its_process(worker: Process, site: Site, manager: Manager, tmp_path: Path) -> None:
    """It starts again, with the same ``retries``: what a manager counts. The worker goes on."""
    manager.send(ODD + "dies", str(tmp_path / "count"), 3, alias=LEDGER)
    one_vote(manager, Decision.COMMIT, 40)
    # The first may be lost with its process; those of a message that was delivered before are not.
    assert [start.retries for start in manager.starts] in ([0] * 3, [0] * 4)
    assert len(prepared(site, manager)) == 1
    manager.decide(Decision.COMMIT, manager.votes)
    manager.wait(lambda: manager.ends)
    assert rows(site, manager) == 1


def test_the_soft_time_limit_is_a_vote(worker: Process, site: Site, manager: Manager) -> None:
    task = manager.send(ODD + "too_slow", alias=LEDGER)
    one_vote(manager, Decision.ROLLBACK)
    error = manager.votes[0].error
    assert error is not None and error.type == "SoftTimeLimitExceeded"
    assert result(site, task)[0] == "FAILURE"


def test_siblings_on_one_key(site: Site, manager: Manager, apart: str) -> None:
    """The second waits for the first, which waits for the decision, which waits for the second: until the timeout."""
    with site.worker("threads", 2, apart, env={**ENV, "DJANGO_SETTINGS_MODULE": "tests.integration.odd.settings"}):
        for number in (1, 2):
            manager.send(ODD + "same_key", 987654, number=number, alias=LEDGER)
        manager.wait(lambda: len(manager.votes) == 2)
    failed, holder = sorted(manager.votes, key=lambda vote: vote.vote, reverse=True)
    assert (failed.vote, holder.vote) == (Decision.ROLLBACK, Decision.COMMIT)
    assert failed.error is not None
    assert f"held by task {holder.members[0]} of the same batch" in failed.error.message
    assert "must not touch the same rows" in failed.error.message
    site.query(LEDGER, f"ROLLBACK PREPARED '{holder.gid}'")


def test_other_tasks_notice_nothing(worker: Process, site: Site, manager: Manager, tmp_path: Path) -> None:
    manager.send(ODD + "only_reads", alias=LEDGER)
    path = tmp_path / "hook"
    task = app.send_task(ODD + "unrelated", [LEDGER, str(path)])
    assert result(site, str(task.id))[0] == "SUCCESS"
    assert path.read_text() == "called"


# --- messages -------------------------------------------------------------------------------------------------------


def test_a_second_message_votes_for_what_is_prepared(worker: Process, site: Site, manager: Manager) -> None:
    """One effect, whoever is asked how often; the work is not done again."""
    manager.send(ODD + "waits", 0, alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    again = manager.send(ODD + "waits", 0, alias=LEDGER, again=True)
    manager.wait(lambda: len(manager.votes) == 2)
    first, second = manager.votes
    assert (first.gid, first.proof) == (second.gid, second.proof)
    assert len(manager.starts) == 1 and prepared(site, manager) == [first.gid]
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


def test_a_batch_that_is_over_starts_no_more_tasks(worker: Process, site: Site, manager: Manager) -> None:
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
    assert len(manager.starts) == 1
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
    queue = f"coordination.recovery.{LEDGER}"
    wait_until(lambda: site.rabbitmq.queues()[queue].messages == 0, 5, what="the order to be acknowledged")


# --- processes ------------------------------------------------------------------------------------------------------


def test_a_killed_workers_work_is_finished_by_another(worker: Process, site: Site, manager: Manager) -> None:
    """Any agent that has the database does, through the recovery queue."""
    manager.send(ODD + "waits", 0, alias=LEDGER)
    manager.send("demo.tasks.write_entries", 2, number=2, alias="demo_crm", rows=1, fail_at=0, seconds=0)
    with site.worker("solo", 1, env=ENV) as doomed:
        for number in range(3, 9):
            manager.send(ODD + "waits", 0.2, number=number, alias=LEDGER)
        manager.wait(lambda: len(manager.votes) == 8)
        doomed.kill()
    for vote in manager.votes:
        manager.recover(vote.alias, manager.order(vote, Decision.COMMIT))
    manager.wait(lambda: len(manager.ends) == 8)
    assert {end.outcome for end in manager.ends.values()} == {Outcome.COMMITTED}
    assert rows(site, manager) == 7


def test_the_sweep_speaks_for_orphans(worker: Process, site: Site, manager: Manager) -> None:
    """A prepared transaction of ours that nobody votes for; others' are never touched."""
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
    """A child for each task: each has an agent of its own, votes through it, and leaves no mailbox behind."""
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


# --- servers --------------------------------------------------------------------------------------------------------


def test_a_worker_killed_between_prepare_and_vote(site: Site, manager: Manager, apart: str) -> None:
    """The broker is down at that moment, so the vote goes with the process. Who gets the message again votes for it."""
    with site.worker("prefork", 1, apart, env=ENV) as doomed:
        manager.send(ODD + "waits", 1, alias=LEDGER)
        manager.wait(lambda: manager.starts)
        site.rabbitmq.kill()
        wait_until(lambda: prepared(site, manager), 10, what="the task to prepare")
        doomed.kill()
        site.rabbitmq.start()
        manager.connect()
    with site.worker("prefork", 1, apart, env=ENV):
        one_vote(manager, Decision.COMMIT, 40)
        (gid,) = prepared(site, manager)
        assert manager.votes[0].gid == gid
        assert len({start.token for start in manager.starts}) == 1  # The broker forgot that it was read.
        manager.decide(Decision.COMMIT, manager.votes)
        manager.wait(lambda: manager.ends)
    assert rows(site, manager) == 1


def test_a_worker_without_the_database(site: Site, manager: Manager, apart: str) -> None:
    """It says so at once, rather than let the batch wait for its deadline."""
    with site.worker("prefork", 1, apart, env=ENV):
        task = manager.send(ODD + "waits", 0, alias="demo_nowhere")
        assert "demo_nowhere" in one_vote(manager, Decision.ROLLBACK)
        assert result(site, task)[0] == "FAILURE"


def test_the_broker_dies_before_the_vote(site: Site, manager: Manager, apart: str) -> None:
    """The vote waits in the process until the broker is back."""
    with site.worker("prefork", 1, apart, env=ENV):
        manager.send(ODD + "waits", 2, alias=LEDGER)
        manager.wait(lambda: manager.starts)
        site.rabbitmq.kill()
        wait_until(lambda: prepared(site, manager), 10, what="the task to prepare")
        site.rabbitmq.start()
        manager.connect()
        manager.wait(lambda: manager.votes, 40)
        (gid,) = prepared(site, manager)
        assert {(vote.vote, vote.gid) for vote in manager.votes} == {(Decision.COMMIT, gid)}
        manager.decide(Decision.COMMIT, manager.votes[:1])
        manager.wait(lambda: manager.ends, 30)
        assert rows(site, manager) == 1


def test_a_database_that_is_away_puts_the_task_off(site: Site, manager: Manager, apart: str) -> None:
    """No slot waits for it, no vote is cast, no retry is used up."""
    with site.worker("prefork", 1, apart, env=ENV):
        manager.send(ODD + "waits", 0, alias=LEDGER)
        one_vote(manager, Decision.COMMIT)
        site.postgres2.stop("immediate")
        crm = manager.send(
            "demo.tasks.write_entries", 2, number=2, alias="demo_crm", rows=1, fail_at=0, seconds=0
        )  # fmt: skip
        wait_until(lambda: result(site, crm)[0] == "RETRY", 15, what="the task to be put off")
        manager.send(ODD + "waits", 0, number=3, alias=LEDGER)
        manager.wait(lambda: len(manager.votes) == 2)
        site.postgres2.start()
        manager.wait(lambda: len(manager.votes) == 3, 30)
        assert {vote.vote for vote in manager.votes} == {Decision.COMMIT}
        assert {start.retries for start in manager.starts} == {0}
        manager.decide(Decision.ROLLBACK, manager.votes)
        manager.wait(lambda: len(manager.ends) == 3)


def test_a_database_that_dies_under_a_body(site: Site, manager: Manager, apart: str) -> None:
    """Its vote does not wait for the database's return: nobody else can have prepared this branch."""
    with site.worker("threads", 1, apart, env=ENV):
        manager.send(ODD + "waits", 1, alias="demo_crm")
        manager.wait(lambda: manager.starts)
        site.postgres2.stop("immediate")
        words = one_vote(manager, Decision.ROLLBACK)
        assert "closed" in words or "lost" in words or "terminat" in words
        site.postgres2.start()


def test_a_stopped_process_keeps_nothing_waiting_for_ever(site: Site, manager: Manager, apart: str) -> None:
    """SIGSTOP for a while, then on: as after a laptop's sleep."""
    with site.worker("prefork", 1, apart, env=ENV) as worker:
        manager.send(ODD + "waits", 0, alias=LEDGER)
        one_vote(manager, Decision.COMMIT)
        worker.suspend()
        manager.decide(Decision.COMMIT, manager.votes)
        time.sleep(2)
        assert not manager.ends
        worker.resume()
        manager.wait(lambda: manager.ends)
