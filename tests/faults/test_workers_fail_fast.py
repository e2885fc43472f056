"""After the first rollback vote: what runs is ended, what has not begun never runs and leaves the queue quickly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordination.journal import requests
from coordination.models import Batch
from tests.faults.scripted import APPS, demo, launch
from tests.integration.batches import attempts, ended, field, in_state, nothing_left, rows
from tests.services import Process, Site


@pytest.fixture(scope="module", autouse=True)
def node(whole_site: Site) -> Iterator[None]:
    whole_site.demo_data()
    with whole_site.node():
        yield


@pytest.fixture(scope="module", params=["prefork", "threads"])
def worker(request: pytest.FixtureRequest, whole_site: Site) -> Iterator[Process]:
    """A worker with two slots, of each pool."""
    with whole_site.worker(request.param, 2, env=APPS) as process:
        yield process


def at_work(site: Site) -> bool:
    """Whether a statement that sleeps is running."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE '%pg_sleep%'"
    return bool(site.value("demo_crm", f"{sql} AND pid <> pg_backend_pid()"))


def test_running_sql_is_cancelled(worker: Process, orm: Site, tmp_path: Path) -> None:
    """Its slot is free for other batches at once."""
    path, go = tmp_path / "runs", tmp_path / "go"
    batch = launch(["in_sql", "crm", path, 50], ["fails", "ledger", go])
    orm.wait_until(path.exists, 30, what="the statement to begin")
    go.touch()
    assert ended(orm, batch) == "ROLLED_BACK"
    assert "these numbers do not add up" in field(orm, batch, "reason")
    orm.wait_until(lambda: not at_work(orm), 20, every=0.02, what="the statement to be cancelled")
    sql = "SELECT extract(epoch FROM clock_timestamp() - decided)::float8 FROM coordination_batch WHERE id = %s"
    print(f"cancelled {orm.value('default', sql, [batch]):.2f} s after the decision")
    other = launch(*[["writes", "crm"]] * 4)
    assert ended(orm, other, 20) == "COMMITTED"
    assert (rows(orm, other), rows(orm, batch), path.read_text()) == (4, 0, "x")
    assert "user request" not in worker.log, "it is no failure of the task's"
    nothing_left(orm, batch, other)


def test_a_cancelled_batch_ends_its_bodies(worker: Process, orm: Site, tmp_path: Path) -> None:
    """One in a statement, one between two: neither gets to its end."""
    sql, short = tmp_path / "sql", tmp_path / "short"
    batch = launch(["in_sql", "crm", sql, 50], ["many_statements", "ledger", short, 25])
    orm.wait_until(lambda: sql.exists() and short.exists(), 30, what="both to run")
    requests.cancel(Batch.objects.get(pk=batch).pk, by="a test", why="no more")
    assert ended(orm, batch) == "ROLLED_BACK"
    orm.wait_until(lambda: not at_work(orm), 20, every=0.02, what="the statement to be cancelled")
    other = launch(["writes", "ledger"], ["writes", "crm"])
    assert ended(orm, other, 20) == "COMMITTED"
    assert not Path(f"{short}.end").exists()
    assert rows(orm, batch) == 0
    nothing_left(orm, batch, other)


def test_what_has_not_begun_never_runs(worker: Process, orm: Site) -> None:
    """All 600 tasks are on the queue, number 5 fails: few others ran, and the next batch need not wait for the rest."""
    worker.suspend()
    batch = demo(tasks=600, fail_at=5)
    sql = "SELECT count(*) FROM coordination_branch WHERE batch_id = %s AND sent"
    orm.wait_until(lambda: orm.value("default", sql, [batch]) == 600, 30, what="all tasks on the queue")
    other = demo("globex", tasks=6)
    worker.resume()
    assert ended(orm, batch) == "ROLLED_BACK"
    assert ended(orm, other) == "COMMITTED"
    assert in_state(orm, batch, "NOT_RUN") > 400
    assert len(attempts(orm, batch)) < 200
    # The process that takes them from the queue dropped most of them: those that run tasks saw few.
    assert worker.log.count("] ignored") < 200
    orm.wait_until(lambda: orm.rabbitmq.queues()["celery"].messages == 0, 20, what="all acknowledged")
    assert rows(orm, batch) == 0
    nothing_left(orm, batch, other)
