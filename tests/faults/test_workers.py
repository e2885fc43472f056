"""Workers and their processes that die, hang, come twice or too late, at named points of the protocol."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client

from coordination.models import Attempt, Batch
from tests.faults.scripted import APPS, Crash, launch
from tests.integration.batches import adopted, attempts, ended, field, in_state, nothing_left, prepared, rows
from tests.services import Site


@pytest.fixture(scope="module", autouse=True)
def node(whole_site: Site) -> Iterator[None]:
    whole_site.demo_data()
    with whole_site.node():
        yield


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A file in which a task counts how often it ran."""
    return tmp_path / "runs"


def told_apart(site: Site, batch: str, *, committed: int) -> None:
    """It committed, each task has one effect and one gid that counts, and nothing is left of it anywhere."""
    assert ended(site, batch) == "COMMITTED"
    assert rows(site, batch) == committed == len(adopted(site, batch))
    nothing_left(site, batch)


def test_children_are_killed(orm: Site, tmp_path: Path, runs: Path) -> None:
    """Rows 13, 14. Celery delivers each again: it runs again, or what it had prepared is found and voted for.

    One child after the other, each with another task: it had done its work, had prepared it, had handed its vote over.
    """
    points = ("prepare.before", "prepare.done", "vote.given")
    crash = Crash(tmp_path, ",".join(f"{point}=kill" for point in points))
    with orm.worker("prefork", 1, env={**APPS, **crash.env}):
        batch = launch(*[["counted", "ledger", runs]] * 8)
        told_apart(orm, batch, committed=8)
    assert all((tmp_path / point).exists() for point in points)
    # Only the one whose work was done and not prepared did it twice.
    assert runs.read_text() == "x" * 9


def test_killed_when_celery_knows_of_its_end_and_nobody_of_its_vote(orm: Site, tmp_path: Path, runs: Path) -> None:
    """Rows 13, 14. Nobody delivers it again, and no start was heard: the sweep finds what is prepared."""
    crash = Crash(tmp_path, "vote.leaving=wait")
    with orm.worker("prefork", 1, env={**APPS, **crash.env}) as worker:
        batch = launch(["counted", "ledger", runs])
        crash.struck(orm)
        worker.wait_for(r"counted\[.*succeeded in")
        orm.wait_until(lambda: orm.rabbitmq.queues()["celery"].messages == 0, 20, what="Celery's acknowledgement")
        held = prepared(orm, batch)
        crash.kill(orm)
        assert in_state(orm, batch, "PENDING") == 1
        told_apart(orm, batch, committed=1)
    assert adopted(orm, batch) == held
    assert runs.read_text() == "x"


def test_a_worker_is_killed_before_its_vote(orm: Site, tmp_path: Path, runs: Path) -> None:
    """Rows 14, 15. The whole process, with what it had prepared: another worker votes for it, and runs the rest."""
    crash = Crash(tmp_path, "prepare.done#2=kill")
    batch = launch(*[["counted", "crm", runs]] * 4)
    doomed = orm.worker("threads", 1, env={**APPS, **crash.env}, wait=False)
    crash.struck(orm)
    doomed.wait()
    held = prepared(orm, batch)
    assert len(held) == 2
    with orm.worker("threads", 2, env=APPS):
        told_apart(orm, batch, committed=4)
    assert held <= adopted(orm, batch)
    assert runs.read_text() == "xxxx"


def test_delivered_three_times(orm: Site, tmp_path: Path, runs: Path) -> None:
    """Row 16. Its connection is lost twice while it runs. The first time its own worker gets it again: the run that is
    under way goes on with the new delivery. The second time another one does: two run at once, and one counts."""
    go = tmp_path / "go"
    with orm.worker("threads", 2, env=APPS) as worker:
        batch = launch(["waits", "ledger", runs, go], ["writes", "crm"])
        orm.wait_until(runs.exists, 40, what="the first run")
        orm.rabbitmq.ctl("close_all_connections", "for a test")
        orm.wait_until(lambda: worker.log.count("waits[") >= 2, 40, what="the second delivery")
        with orm.worker("threads", 2, env=APPS):
            assert runs.read_text() == "x"
            worker.suspend()
            orm.rabbitmq.ctl("close_all_connections", "for a test")
            orm.wait_until(lambda: runs.read_text() == "xx", 40, what="the third delivery")
            worker.resume()
            go.touch()
            told_apart(orm, batch, committed=2)
        assert len(adopted(orm, batch)) == 2


def test_one_that_was_delivered_again_is_given_back_with_its_process(orm: Site, tmp_path: Path, runs: Path) -> None:
    """Rows 13, 16. Its first delivery is gone with its connection; its child dies: the second is not lost with it."""
    crash = Crash(tmp_path, "prepare.before=wait")
    with orm.worker("prefork", 1, env={**APPS, **crash.env}) as worker:
        batch = launch(["counted", "ledger", runs])
        crash.struck(orm)
        orm.rabbitmq.ctl("close_all_connections", "for a test")
        orm.wait_until(lambda: worker.log.count("counted[") >= 2, 40, what="the second delivery")
        crash.kill(orm)
        told_apart(orm, batch, committed=1)
    assert runs.read_text() == "xx"


def test_a_zombie_prepares_after_the_commit(orm: Site, tmp_path: Path, runs: Path) -> None:
    """Row 17. It slept through its batch; what it then prepares is not what was committed, and it is told so."""
    crash = Crash(tmp_path, "prepare.before=wait")
    with orm.worker("threads", 1, env={**APPS, **crash.env}) as zombie:
        batch = launch(["counted", "ledger", runs])
        crash.struck(orm)
        with orm.worker("threads", 1, env=APPS):
            zombie.suspend()
            orm.rabbitmq.ctl("close_all_connections", "for a test")
            assert ended(orm, batch) == "COMMITTED"
        assert rows(orm, batch) == 1 and runs.read_text() == "xx"
        zombie.resume()
        crash.go_on()
        zombie.wait_for("succeeded in")
        orm.wait_until(lambda: not prepared(orm, batch), 20, what="it to be told")
        told_apart(orm, batch, committed=1)


def test_a_cold_shutdown_during_the_commit(orm: Site, tmp_path: Path) -> None:
    """Row 21. It has committed one task and not said so, and not the other: another worker asks the database by gid."""
    crash = Crash(tmp_path, "finish.done=wait,finish.before#2=wait")
    with orm.worker("threads", 1, env={**APPS, **crash.env}) as doomed:
        batch = launch(["writes", "ledger"], ["writes", "crm"])
        crash.struck(orm)
        began = time.monotonic()
        doomed.stop(number=signal.SIGQUIT)
        print(f"gone {time.monotonic() - began:.1f} s after SIGQUIT")
    assert field(orm, batch, "state") == "COMMITTING"
    with orm.worker("threads", 1, env=APPS):
        told_apart(orm, batch, committed=2)
    assert set(attempts(orm, batch).values()) == {1}


def test_a_child_for_each_task(orm: Site, runs: Path) -> None:
    """Row 21. Each child ends after its task, so before its batch is decided: others finish what it prepared."""
    with orm.worker("prefork", 2, "--max-tasks-per-child=1", env=APPS):
        batch = launch(*[["counted", "ledger", runs], ["counted", "crm", runs]] * 2)
        told_apart(orm, batch, committed=4)
    assert runs.read_text() == "x" * 4
    processes = {attempt.process for attempt in Attempt.objects.filter(branch__batch_id=batch)}
    assert len(processes) == 4
    left = [name for name in orm.rabbitmq.queues() if any(process in name for process in processes)]
    assert not left, "each of their agents has said goodbye"


def test_tasks_hang(orm: Site, tmp_path: Path, runs: Path) -> None:
    """Row 24. The deadline decides and names them; one in a statement is ended, one elsewhere undoes itself later."""
    go = tmp_path / "go"
    with orm.worker("threads", 3, env=APPS):
        batch = launch(["waits", "ledger", runs, go], ["in_sql", "ledger", runs, 50], ["writes", "crm"], seconds=3)
        assert ended(orm, batch) == "ROLLED_BACK"
        reason = field(orm, batch, "reason")
        assert "Deadline passed with 1 of 3 tasks prepared" in reason and "still running: 1, 2" in reason
        go.touch()
        other = launch(*[["writes", "ledger"]] * 3)
        assert ended(orm, other, 20) == "COMMITTED"
    assert rows(orm, batch) == 0 and runs.read_text() == "xx"
    assert set(attempts(orm, batch).values()) == {1}
    nothing_left(orm, batch, other)


def test_no_worker_at_all(orm: Site) -> None:
    """Row 25. The deadline decides, and says that nothing was started."""
    batch = launch(["writes", "ledger"], ["writes", "crm"], seconds=2)
    assert ended(orm, batch) == "ROLLED_BACK"
    assert "never started: 1, 2" in field(orm, batch, "reason")
    assert in_state(orm, batch, "NOT_RUN") == 2
    nothing_left(orm, batch)


def test_all_leave_after_voting(orm: Site, tmp_path: Path) -> None:
    """Row 25. Decided, and nobody to carry it out: the page says what is waited for, and one who comes does it."""
    crash = Crash(tmp_path, "finish.before=kill")
    with orm.worker("threads", 1, env={**APPS, **crash.env}) as doomed:
        batch = launch(["writes", "ledger"], ["writes", "crm"])
        doomed.wait()
    assert field(orm, batch, "state") == "COMMITTING"
    left = in_state(orm, batch, "PREPARED")  # One may have been committed when the process was killed at the other.
    assert prepared(orm, batch) and f"{left} of 2 tasks still to be committed in their databases" in _page(batch)
    done = orm.manage("wait_batch", batch, "--timeout", "1s", "--json")
    assert done.returncode == 5 and '"state": "COMMITTING"' in done.stdout
    with orm.worker("prefork", 1, env=APPS):
        told_apart(orm, batch, committed=2)


def _page(batch: str) -> str:
    """The batch's page, as one of its customer's people sees it."""
    from django.contrib.auth import get_user_model

    client = Client()
    customer = Batch.objects.get(pk=batch).customer
    user = get_user_model().objects.filter(memberships__customer=customer).first()
    assert user is not None
    client.force_login(user)
    return client.get(f"/c/{customer.slug}/b/{batch}/", headers={"host": "localhost"}).content.decode()


def test_a_task_that_kills_its_process_each_time(orm: Site, tmp_path: Path) -> None:
    """Row 43. Its batch is rolled back and says so; what other customers have on the same worker commits meanwhile."""
    with orm.worker("prefork", 2, env=APPS) as worker:
        bad = launch(["dies", "ledger", tmp_path / "deaths"], ["writes", "crm"])
        good = [launch(*[["writes", "crm"]] * 5, customer="globex") for _ in range(3)]
        assert {ended(orm, batch) for batch in good} == {"COMMITTED"}
        assert ended(orm, bad) == "ROLLED_BACK"
        assert "died twice" in field(orm, bad, "reason")
        assert worker.alive
    assert sum(rows(orm, batch) for batch in good) == 15 and rows(orm, bad) == 0
    nothing_left(orm, bad, *good)
