"""Tasks that misbehave: what their workers vote, and that nobody else notices."""

from pathlib import Path

import pytest

from coordination.protocol.states import Decision, Kind
from orchestrator_site.celery import app
from tests.integration.participant.looking import ENV, LEDGER, ODD, one_vote, prepared, result, rows
from tests.integration.participant.standin import Manager
from tests.services import Process, Site


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
    manager.wait(lambda: {0, 1} <= set(manager.attempts.values()))
    assert len(manager.attempts) == 3
    manager.decide(Decision.COMMIT, manager.votes)
    manager.wait(lambda: manager.ends)
    assert rows(site, manager) == 1


def test_a_retry_that_cannot_be_published_is_not_a_vote_either(
    worker: Process, site: Site, manager: Manager, tmp_path: Path
) -> None:
    """Celery would drop the message; the broker keeps it, and the task is run once more."""
    manager.send(ODD + "cannot_be_sent_again", str(tmp_path / "count"), alias=LEDGER)
    one_vote(manager, Decision.COMMIT)
    manager.decide(Decision.COMMIT, manager.votes)
    manager.wait(lambda: manager.ends)
    assert rows(site, manager) == 1


def test_retries_run_out(worker: Process, site: Site, manager: Manager, tmp_path: Path) -> None:
    manager.send(ODD + "unsteady", str(tmp_path / "count"), 99, alias=LEDGER)
    assert "file server" in one_vote(manager, Decision.ROLLBACK)
    # Each try may be another process's, which says so in its own time: the last vote may overtake an earlier start.
    manager.wait(lambda: {0, 1, 2} <= set(manager.attempts.values()) and len(manager.attempts) == 4)


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
    """Row 44. The second waits for the first, that for the decision, that for the second: until the timeout."""
    with site.worker(
        "threads", 2, apart, env={**ENV, "DJANGO_SETTINGS_MODULE": "tests.integration.participant.odd.settings"}
    ):
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
