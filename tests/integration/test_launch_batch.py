"""`launch_batch` and its kin against the real thing: every exit code, produced as it happens to people."""

import json
import signal
from collections.abc import Iterator

import pytest

from tests.integration.launching import customers, id_of, launch, popen, rows, state, wait_for_branch
from tests.services import Process, Site, wait_until

__all__ = ["customers"]


@pytest.fixture(scope="module")
def node(customers: Site) -> Iterator[Process]:
    """A node for the whole module."""
    with customers.node(wait=False) as process:
        yield process


@pytest.fixture(scope="module")
def worker(customers: Site) -> Iterator[Process]:
    """A worker with one slot for the whole module: tasks run one after the other."""
    with customers.worker("prefork", 1) as process:
        yield process


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
    process = popen(customers, tasks=12, fail_at=0, seconds=0.7)
    process.wait_for("ACTIVE")
    batch = id_of(process.log)
    done = customers.manage("cancel_batch", batch, "--reason", "wrong files")
    assert (done.returncode, done.stdout) == (0, "Cancelled\n"), done.stderr
    assert process.wait(30) == 3
    assert "wrong files" in process.log
    assert customers.manage("cancel_batch", batch).returncode == 5
    wait_until(lambda: rows(customers, batch) == [0, 0, 0] and customers.prepared() == [], 20)


def test_5_not_carried_out_everywhere(customers: Site, node: Process, worker: Process) -> None:
    """The only task on the second server is prepared when that server stops answering; the others go on.

    The second launch finds the batch of the first, when it is decided.
    """
    first = launch(customers, "--idempotency-key=slow", "--no-wait", tasks=5, fail_at=0, seconds=0.7)
    batch = id_of(first)
    wait_for_branch(customers, batch, 3, "PREPARED")
    customers.postgres2.suspend()
    try:
        customers.wait_until(lambda: state(customers, batch) == "COMMITTING", 60, what="the decision")
        done = launch(customers, "--idempotency-key=slow", "--timeout=1", tasks=5, fail_at=0, seconds=0.7)
        assert done.returncode == 5, done.stderr
        assert "Decided COMMIT, but not carried out everywhere within 1 s" in done.stderr
        assert state(customers, batch) == "COMMITTING"
    finally:
        customers.postgres2.resume()
    assert customers.manage("wait_batch", batch, "--timeout=60").returncode == 0
    assert rows(customers, batch) == [20, 20, 10]


def test_5_mixed(customers: Site, node: Process, worker: Process) -> None:
    """A person rolls back a prepared transaction by hand, and then all vote to commit."""
    process = popen(customers, tasks=4, fail_at=0, seconds=0.5)
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
    process = popen(customers, tasks=3, fail_at=0, seconds=0.5)
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
