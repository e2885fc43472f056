"""Tasks on SQLite, and on a server that is not asked to prepare, with real nodes and workers: all that can go wrong."""

import contextlib
import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.batches import ended, field, in_state, nothing_left
from tests.services import Site
from tests.services.proxy import Proxy

HOLD_LIMIT = 2


class Holding:
    """The site with two databases more: ``file`` is SQLite, ``held`` a second way to the warehouse's server."""

    def __init__(self, site: Site, file: Path) -> None:
        self.site, self.file = site, file
        held = site.postgres.url_of("demo_warehouse") + "?two_phase=hold"
        targets = f"{site.settings['TARGET_DATABASES']},demo_file=sqlite:///{file},demo_held={held}"
        self.env = {"TARGET_DATABASES": targets, "COORDINATION_APPS": "demo,tests.faults.holding"}

    def prepare(self) -> None:
        """Make the file and grant both to acme."""
        self.site.demo_data()
        self.file.touch()
        self.site.manage("migrate", "--database=demo_file", "--verbosity=0", check=True, env=self.env)
        self.site.query(
            "default",
            "INSERT INTO coordination_customerdatabase (customer_id, name, alias) SELECT c.id, v.name, v.alias"
            " FROM coordination_customer c, (VALUES ('file', 'demo_file'), ('held', 'demo_held')) v (name, alias)"
            " WHERE slug = 'acme' RETURNING 1",
        )

    def launch(self, names: str, *args: str, **params: object) -> "subprocess.CompletedProcess[str]":
        """A batch with a task on each of ``names``."""
        given = [f"--param={name}={value}" for name, value in {"names": names, **params}.items()]
        return self.site.manage("launch_batch", "acme", "over", *given, *args, env=self.env)

    def start(self, names: str, **params: object) -> str:
        """The same, not waited for; its id."""
        done = self.launch(names, "--no-wait", "--json", **params)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["id"])

    def rows(self, batch: str) -> dict[str, int]:
        """The batch's rows that can be seen, by database."""
        sql = "SELECT count(*) FROM demo_entry WHERE batch_id = "
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            found = {"file": connection.execute(f"{sql}?", [batch.replace("-", "")]).fetchone()[0]}
        for alias in ("demo_ledger", "demo_warehouse", "demo_crm"):
            found[alias.removeprefix("demo_")] = self.site.value(alias, f"{sql}%s", [batch])
        return {name: count for name, count in found.items() if count}

    def holds(self, batch: str, tasks: int) -> None:
        """Wait until so many of its tasks are prepared."""
        self.site.wait_until(lambda: in_state(self.site, batch, "PREPARED") == tasks, 30, what="prepared tasks")

    def file_is_free(self) -> bool:
        """Whether anybody could write to the file now."""
        with contextlib.closing(sqlite3.connect(self.file, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True


@pytest.fixture(scope="module")
def with_node(whole_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    """A node, and no worker."""
    holding = Holding(whole_site, tmp_path_factory.mktemp("held") / "demo.sqlite3")
    holding.prepare()
    with whole_site.node(env=holding.env):
        yield holding
    whole_site.query(
        "default", "DELETE FROM coordination_customerdatabase WHERE alias IN ('demo_file', 'demo_held') RETURNING 1"
    )


@pytest.fixture(scope="module")
def with_worker(with_node: Holding) -> Iterator[Holding]:
    """A node and a worker."""
    with with_node.site.worker("threads", 2, env=with_node.env):
        yield with_node


@pytest.fixture
def armed(with_node: Holding, site: Site, tmp_path: Path) -> Any:
    """Starts a worker with one child, to which a fault happens once."""

    def start(fault: str) -> Path:
        env = {**with_node.env, "COORDINATION_CRASH_AT": fault, "COORDINATION_CRASH_MARKS": str(tmp_path)}
        site.worker("prefork", 1, env=env)
        return tmp_path / fault.partition("=")[0]

    return start


# --- the holder dies: these have workers of their own, and come before the others' ------------------------------------


def test_its_holder_dies_before_the_decision(with_node: Holding, armed: Any) -> None:
    """Row 20. Found when the others have voted and it is asked whether it still holds: rolled back, everywhere."""
    struck = armed("vote.sent=kill")
    batch = with_node.start("file,ledger,held")
    assert ended(with_node.site, batch) == "ROLLED_BACK"
    assert struck.exists() and with_node.rows(batch) == {}
    reason = field(with_node.site, batch, "reason")
    assert re.fullmatch(r"Worker process \S+ no longer answers for what it holds", reason)
    assert with_node.file_is_free()
    nothing_left(with_node.site, batch)


def test_its_holder_dies_after_commit(with_node: Holding, armed: Any) -> None:
    """Row 20. Its work is lost and the others' is not: MIXED, which names it, proved by another process."""
    site = with_node.site
    struck = armed("finish.held=kill")
    batch = with_node.start("ledger,file,crm")
    assert ended(site, batch) == "MIXED"
    assert struck.exists() and with_node.rows(batch) == {"ledger": 1, "crm": 1}
    states = site.query("default", "SELECT number, state FROM coordination_branch WHERE batch_id = %s", [batch])
    assert dict(states) == {1: "COMMITTED", 2: "HEURISTIC_ROLLBACK", 3: "COMMITTED"}
    sql = "SELECT count(*) FROM coordination_journalentry WHERE batch_id = %s AND text LIKE %s"
    assert site.value("default", sql, [batch, "Task 2 was rolled back against the decision%"]) == 1
    nothing_left(site, batch)


def test_its_holder_dies_when_it_has_committed(with_node: Holding, armed: Any) -> None:
    """Row 20. Nothing is lost but the report: another process finds the mark."""
    struck = armed("finish.done=kill")
    batch = with_node.start("file")
    assert ended(with_node.site, batch) == "COMMITTED"
    assert struck.exists() and with_node.rows(batch) == {"file": 1}
    how = with_node.site.value("default", "SELECT how FROM coordination_branch WHERE batch_id = %s", [batch])
    assert "Found committed" in how
    nothing_left(with_node.site, batch)


def test_a_worker_that_is_stopped_gives_up_what_is_not_decided(with_node: Holding, site: Site) -> None:
    """SIGTERM: its batch is rolled back at once, and not when the others have voted or the deadline has passed."""
    worker = site.worker("prefork", 2, env=with_node.env)
    batch = with_node.start("file,held", waits=True)
    with_node.holds(batch, 2)
    worker.stop()
    site.wait_until(lambda: field(site, batch, "decision"), 5, what="the decision")
    assert re.search("Task [12] of 3 was lost: its worker process was stopped", field(site, batch, "reason"))
    assert with_node.file_is_free()
    site.worker("threads", 1, env=with_node.env)
    assert ended(site, batch) == "ROLLED_BACK" and with_node.rows(batch) == {}
    nothing_left(site, batch)


def test_cut_off_from_the_broker_for_too_long(with_node: Holding, site: Site) -> None:
    """Row 29. It closes what it holds, so that others can write; when it is back it says so."""
    with Proxy(site.rabbitmq.port) as proxy:
        url = site.settings["AMQP_URL"].replace(f":{site.rabbitmq.port}", f":{proxy.port}")
        worker = site.worker(
            "threads", 2, env={**with_node.env, "AMQP_URL": url, "COORDINATION_HOLD_LIMIT": str(HOLD_LIMIT)}
        )
        batch = with_node.start("file,held", waits=True)
        with_node.holds(batch, 2)
        assert not with_node.file_is_free()
        began = time.monotonic()
        proxy.black_hole()
        proxy.reset_clients()
        site.wait_until(with_node.file_is_free, 40, what="the end of what it holds")
        took = time.monotonic() - began
        print(f"closed {took:.1f} s after it was cut off; the limit is {HOLD_LIMIT} s")
        assert took > HOLD_LIMIT / 2  # It counts from when it last looked at its connection.
        assert field(site, batch, "decision") is None
        proxy.pass_on()
        assert ended(site, batch) == "ROLLED_BACK"
        assert "cut off from the broker" in field(site, batch, "reason")
        assert with_node.rows(batch) == {}
        worker.stop()
    nothing_left(site, batch)


# --- with one worker for all ------------------------------------------------------------------------------------------


def test_over_all_kinds_of_databases(with_worker: Holding) -> None:
    """All or nothing; what is promised is said when it is launched."""
    good = with_worker.launch("file,ledger,held,crm", "--json")
    assert good.returncode == 0, good.stderr
    assert "Guarantee: atomic unless a worker process dies\n" in good.stderr
    result = json.loads(good.stdout)
    assert (result["guarantee"], result["counts"]) == ("process_bound", {"COMMITTED": 4})
    assert with_worker.rows(result["id"]) == {"file": 1, "ledger": 1, "warehouse": 1, "crm": 1}
    bad = with_worker.launch("file,ledger,held,crm", "--json", fail_at=4)
    assert bad.returncode == 3, bad.stderr
    assert with_worker.rows(json.loads(bad.stdout)["id"]) == {}
    assert json.loads(with_worker.launch("ledger,crm", "--json").stdout)["guarantee"] == "crash_safe"
    assert with_worker.file_is_free()


def test_two_tasks_of_a_batch_on_one_file(with_worker: Holding) -> None:
    """Refused before anything is recorded, with the way out."""
    done = with_worker.launch("file,ledger,file")
    assert done.returncode == 2
    assert "Tasks 1 and 3 of this batch both write to database 'file', which takes one writer" in done.stderr


def test_a_floor_above_it(with_worker: Holding) -> None:
    """A customer that requires more than these databases can promise."""
    sql = "UPDATE coordination_customer SET guarantee_floor = %s WHERE slug = 'acme' RETURNING 1"
    with_worker.site.query("default", sql, ["crash_safe"])
    try:
        done = with_worker.launch("file,ledger")
        assert done.returncode == 2 and 'weaker than "Crash-safe"' in done.stderr
    finally:
        with_worker.site.query("default", sql, ["compensated"])


def test_the_second_batch_on_a_file_waits_its_turn(with_worker: Holding, site: Site) -> None:
    """Row 22. It says for what it waits, takes no worker's slot, and runs when the first has ended."""
    first = with_worker.start("file", waits=True)
    with_worker.holds(first, 1)
    second = with_worker.start("file,ledger")
    words = site.wait_until(lambda: field(site, second, "waiting_for"), 20, what="what the second waits for")
    assert words == "its turn on demo_file, which one batch at a time can write to"
    site.manage("cancel_batch", first, check=True)
    assert (ended(site, first), ended(site, second)) == ("ROLLED_BACK", "COMMITTED")
    assert with_worker.rows(second) == {"file": 1, "ledger": 1}
    nothing_left(site, first, second)


def test_a_connection_that_is_lost(with_worker: Holding, site: Site) -> None:
    """Row 20. Noticed within seconds, long before the others have voted: the batch is rolled back at once."""
    batch = with_worker.start("held,file", waits=True)
    with_worker.holds(batch, 2)
    began = time.monotonic()
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    assert site.query("demo_warehouse", sql) == [(True,)]
    assert ended(site, batch) == "ROLLED_BACK"
    print(f"rolled back {time.monotonic() - began:.1f} s after its connection was lost")
    assert field(site, batch, "reason").startswith("Task 1 of 3 was lost: its database connection was lost")
    assert with_worker.rows(batch) == {} and with_worker.file_is_free()
    nothing_left(site, batch)
