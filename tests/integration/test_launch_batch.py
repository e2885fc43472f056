"""`launch_batch` and its kin against the real thing: every exit code, produced as it happens to people."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.services import Process, Site, wait_until


@pytest.fixture(scope="module")
def customers(whole_site: Site) -> Site:
    """The site with the demo's customers."""
    whole_site.manage("demo_data", check=True, env={"DEMO_PASSWORD": "for the tests"})
    return whole_site


@pytest.fixture(scope="module")
def node(customers: Site) -> Iterator[Process]:
    """A node for the whole module."""
    with customers.node() as process:
        yield process


@pytest.fixture(scope="module")
def worker(customers: Site) -> Iterator[Process]:
    """A worker with one slot for the whole module: tasks run one after the other."""
    with customers.worker("prefork", 1) as process:
        yield process


def launch(site: Site, *args: object, timeout: float = 90, **params: object) -> subprocess.CompletedProcess[str]:
    """Launch a batch of plan demo for acme."""
    given = [f"--param={name}={value}" for name, value in params.items()]
    return site.manage("launch_batch", "acme", "demo", *given, *args, timeout=timeout)


def popen(site: Site, *args: object, **params: object) -> Process:
    """The same, as a process; with SIGINT as a shell gives it, whoever started the tests."""
    given = [f"--param={name}={value}" for name, value in params.items()]
    command = [sys.executable, "manage.py", "launch_batch", "acme", "demo", *given, *map(str, args)]
    return site.popen("launch", ["env", "--default-signal=INT", *command])


def recorded(site: Site) -> int:
    """How many batches, branches and journal entries there are."""
    tables = ("coordination_batch", "coordination_branch", "coordination_journalentry")
    return sum(site.value("default", f"SELECT count(*) FROM {table}") for table in tables)


def rows(site: Site, batch: str) -> list[int]:
    """The batch's rows in each of the three databases."""
    sql = "SELECT count(*) FROM demo_entry WHERE batch_id = %s"
    return [site.value(alias, sql, [batch]) for alias in ("demo_ledger", "demo_warehouse", "demo_crm")]


def state(site: Site, batch: str) -> Any:
    return site.value("default", "SELECT state FROM coordination_batch WHERE id = %s", [batch])


def wait_for_branch(site: Site, batch: str, number: int, wanted: str) -> None:
    sql = "SELECT state FROM coordination_branch WHERE batch_id = %s AND number = %s"
    site.wait_until(lambda: site.value("default", sql, [batch, number]) == wanted, 30, what=f"task {number} {wanted}")


def id_of(done: "subprocess.CompletedProcess[str] | str") -> str:
    """The id that a launch printed."""
    match = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", done if isinstance(done, str) else done.stderr)
    assert match, done
    return match.group()


# --- with a node and a worker -----------------------------------------------------------------------------------


def test_0_committed(customers: Site, node: Process, worker: Process) -> None:
    done = launch(customers, "--json", tasks=9, fail_at=0, rows=4)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["state"], result["decision"], result["counts"]) == ("COMMITTED", "COMMIT", {"COMMITTED": 9})
    assert result["errors"] == []
    assert result["url"] == f"{customers.public_url}/c/acme/b/{result['id']}/"
    assert rows(customers, result["id"]) == [12, 12, 12]
    assert customers.prepared() == []


def test_3_rolled_back(customers: Site, node: Process, worker: Process) -> None:
    done = launch(customers, tasks=9, fail_at=5)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("ROLLED_BACK")
    assert "Task 5 of 9 failed: ZeroDivisionError: " in done.stdout
    assert rows(customers, id_of(done)) == [0, 0, 0]
    shown = customers.manage("show_batch", id_of(done), "--errors")
    assert "5 / (fail_at - number)" in shown.stdout
    assert customers.manage("wait_batch", id_of(done)).returncode == 3


def test_3_cancelled(customers: Site, node: Process, worker: Process) -> None:
    process = popen(customers, tasks=6, fail_at=0, seconds=2)
    process.wait_for("ACTIVE")
    batch = id_of(process.log)
    done = customers.manage("cancel_batch", batch, "--reason", "wrong files")
    assert (done.returncode, done.stdout) == (0, "Cancelled\n"), done.stderr
    assert process.wait(30) == 3
    assert "wrong files" in process.log
    assert customers.manage("cancel_batch", batch).returncode == 5
    wait_until(lambda: rows(customers, batch) == [0, 0, 0] and customers.prepared() == [], 20)


def test_5_not_carried_out_everywhere(customers: Site, node: Process, worker: Process) -> None:
    """The only task on the second server is prepared when that server stops answering; the others go on."""
    process = popen(customers, "--timeout=12", tasks=5, fail_at=0, seconds=1)
    process.wait_for("ACTIVE")
    batch = id_of(process.log)
    wait_for_branch(customers, batch, 3, "PREPARED")
    customers.postgres2.suspend()
    try:
        assert process.wait(60) == 5, process.log
        assert "Decided COMMIT, but not carried out everywhere within 12 s" in process.log
        assert state(customers, batch) == "COMMITTING"
    finally:
        customers.postgres2.resume()
    assert customers.manage("wait_batch", batch, "--timeout=60").returncode == 0
    assert rows(customers, batch) == [20, 20, 10]


def test_5_mixed(customers: Site, node: Process, worker: Process) -> None:
    """A person rolls back a prepared transaction by hand, and then all vote to commit."""
    process = popen(customers, tasks=4, fail_at=0, seconds=1)
    process.wait_for("ACTIVE")
    batch = id_of(process.log)
    wait_for_branch(customers, batch, 1, "PREPARED")
    sql = "SELECT gid FROM coordination_branch WHERE batch_id = %s AND number = 1"
    customers.query("demo_ledger", f"ROLLBACK PREPARED '{customers.value('default', sql, [batch])}'")
    assert process.wait(60) == 5, process.log
    assert "MIXED" in process.log and "task 1 (write_entries): HEURISTIC_ROLLBACK" in process.log


def test_6_and_attaching(customers: Site, node: Process, worker: Process) -> None:
    first = launch(customers, "--idempotency-key=night", tasks=3, fail_at=0)
    again = launch(customers, "--idempotency-key=night", tasks=3, fail_at=0)
    other = launch(customers, "--idempotency-key=night", tasks=4, fail_at=0)
    assert (first.returncode, again.returncode, other.returncode) == (0, 0, 6)
    assert id_of(first) == id_of(again) == id_of(other)
    assert other.stderr.count("\n") == 1
    assert rows(customers, id_of(first)) == [10, 10, 10]


def test_130_interrupted_and_the_batch_goes_on(customers: Site, node: Process, worker: Process) -> None:
    process = popen(customers, tasks=3, fail_at=0, seconds=1)
    process.wait_for("ACTIVE")
    batch = id_of(process.log)
    process.send(signal.SIGINT)
    assert process.wait(20) == 130
    assert f"Interrupted; batch {batch} goes on. To watch it: manage.py wait_batch {batch}" in process.log
    assert "Traceback" not in process.log
    assert customers.manage("wait_batch", batch).returncode == 0


def test_no_wait(customers: Site, node: Process, worker: Process) -> None:
    done = launch(customers, "--no-wait", "--json", tasks=3, fail_at=2)
    assert done.returncode == 0
    assert customers.manage("wait_batch", json.loads(done.stdout)["id"]).returncode == 3


# --- without ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, words",
    [
        (["nobody", "demo"], "There is no customer 'nobody'"),
        (["acme", "nightly"], "There is no plan 'nightly'; there are: demo"),
        (["acme", "demo", "--param=size=1"], "Parameter size"),
        (["acme", "demo", "--param=tasks=many"], "Parameter tasks"),
        (["acme", "demo", "--param=tasks=0"], "Parameter tasks"),
        (["acme", "demo", "--param=tasks=20001"], "Parameter tasks"),
        (["acme", "demo", "--deadline=never"], "--deadline"),
        (["bare", "demo"], "Customer bare has no database 'ledger'"),
    ],
)
def test_2_one_line_and_nothing_recorded(customers: Site, args: list[str], words: str) -> None:
    customers.query(
        "default",
        "INSERT INTO coordination_customer (slug, name, queue, max_running_batches, guarantee_floor) "
        "VALUES ('bare', 'Bare', '', 0, 'compensated') ON CONFLICT DO NOTHING",
    )
    before = recorded(customers)
    done = customers.manage("launch_batch", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert recorded(customers) == before


def test_2_half_a_configuration(customers: Site) -> None:
    done = customers.manage("launch_batch", "acme", "demo", env={"REDIS_URL": ""})
    assert done.returncode == 2
    assert "REDIS_URL" in done.stderr and done.stderr.count("\n") == 1


def test_4_without_a_manager(customers: Site) -> None:
    customers.query("default", "UPDATE coordination_node SET heartbeat = now() - interval '11 seconds'")
    done = launch(customers, "--timeout=1", tasks=3)
    assert done.returncode == 4
    assert "Warning: no manager was heard of for 10 s" in done.stderr
    assert f"Not decided within 1 s; batch {id_of(done)} goes on." in done.stderr
    assert done.stdout.startswith("PENDING")
    assert customers.manage("cancel_batch", id_of(done), "--no-wait").returncode == 0


def test_4_with_the_broker_down(site: Site, customers: Site) -> None:
    with site.node():
        site.rabbitmq.stop()
        done = launch(site, "--timeout=12", tasks=3)
        assert done.returncode == 4, done.stderr
        assert "broker" in done.stderr.lower()


def test_1_with_the_journals_database_down(site: Site, customers: Site) -> None:
    site.postgres.stop("immediate")
    done = launch(site, "--idempotency-key=k")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The journal's database cannot be reached" in done.stderr and "--idempotency-key" in done.stderr
    assert done.stderr.count("\n") == 1
    site.postgres.start()


def test_1_when_the_journals_database_goes_away_while_waiting(site: Site, customers: Site) -> None:
    """A short absence is waited out; a long one is told."""
    process = popen(site, tasks=3)
    process.wait_for("PENDING")
    site.postgres.restart("immediate")
    with pytest.raises(subprocess.TimeoutExpired):
        process._popen.wait(3)
    site.postgres.stop("immediate")
    assert process.wait(60) == 1
    assert "The journal's database cannot be reached" in process.log and "Traceback" not in process.log
    site.postgres.start()
