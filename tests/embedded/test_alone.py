"""A home in which nothing runs: commands prepare it, host their own batch, and leave nothing behind.

The tests run in this order in one home, the first of them in a fresh one.
"""

import json
import os
import signal
import stat

import pytest

from tests.embedded.household import Household, id_of
from tests.services import wait_until


def test_a_fresh_home_prepares_itself_and_the_default_batch_rolls_back(home: Household) -> None:
    done = home.launch("--json")
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout)
    assert (said["state"], said["decision"], said["customer"], said["plan"]) == (
        "ROLLED_BACK", "ROLLBACK", "acme", "demo",
    )  # fmt: skip
    assert said["reason"] == "Task 50 of 100 failed: ZeroDivisionError: division by zero"
    assert sum(said["counts"].values()) == 100 and said["counts"]["FAILED"] == 1
    assert [error["task"] for error in said["errors"]] == [50]
    assert said["url"].endswith(f"{home.url}/c/acme/b/{said['id']}/")
    assert "Traceback" not in done.stderr and "WARNING" not in done.stderr
    assert home.server() is None
    assert home.rows(said["id"]) == [0, 0, 0]
    assert home.server() is None


def test_what_is_secret_is_its_owners_only(home: Household) -> None:
    for name in ("secret-key", "installation", "demo-password"):
        found = (home.folder / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, os.geteuid())
    assert stat.S_IMODE((home.folder / "data").stat().st_mode) == 0o700
    assert not (home.folder / "run").exists()


def test_without_a_failing_task_all_rows_are_there(home: Household) -> None:
    done = home.launch(fail_at=0)
    assert done.returncode == 0, done.stderr
    assert home.rows(id_of(done.stderr)) == [340, 330, 330]
    assert home.server() is None


def test_no_wait_alone_is_refused_and_records_nothing(home: Household) -> None:
    done = home.launch("--no-wait")
    assert done.returncode == 2
    assert "make demo" in done.stderr and "--no-wait" in done.stderr
    assert "Batch" not in done.stderr
    assert home.server() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_cancels_its_batch_and_waits(home: Household, number: int) -> None:
    launching = home.launching(fail_at=0, seconds=0.5)
    batch = id_of(launching.wait_for(r"Batch \S+").group())
    home.wait_for_prepared(4)
    launching.send(number)
    assert launching.wait() == 3, launching.log
    assert "Interrupted: cancelling the batch" in launching.log
    assert "The batch is cancelled." in launching.log
    assert "Traceback" not in launching.log
    assert home.server() is None
    assert home.rows(batch) == [0, 0, 0]


def test_when_its_time_is_up_it_cancels_its_batch_and_waits(home: Household) -> None:
    done = home.launch("--timeout=1s", "--json", fail_at=0, seconds=0.5)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["reason"].endswith("Not ended within 1 s")
    assert home.server() is None


def test_who_waits_takes_over_when_the_host_is_killed_and_leaves_nothing_prepared(home: Household) -> None:
    launching = home.launching(fail_at=0, seconds=0.5)
    batch = id_of(launching.wait_for(r"Batch \S+").group())
    home.wait_for_prepared(4)
    waiting = home.popen("wait_batch", batch)
    waiting.wait_for("ACTIVE")
    launching.kill()
    home.guard()
    shown = home.manage("show_batch", batch)
    assert (shown.returncode, shown.stdout.split()[0]) == (0, "ACTIVE"), shown.stderr
    before = len(home.prepared())
    wait_until(lambda: len(home.prepared()) > before, 20, what="another task to be prepared, by who waits")
    waiting.send(signal.SIGINT)
    assert waiting.wait(30) == 3, waiting.log
    assert "because nothing else here would run it" in waiting.log
    assert home.server() is None
    counted = home.manage("shell", "-v0", "-c", _OPEN)
    assert counted.stdout.split() == ["0", "0"], counted.stderr


_OPEN = """
from django.db import connection
from coordination.models import Batch
cursor = connection.cursor()
cursor.execute("SELECT count(*) FROM pg_prepared_xacts")
print(cursor.fetchone()[0], Batch.objects.filter(ended=None).count())
"""
"""How many prepared transactions and open batches there are."""


def test_help_and_commands_of_services_mode_touch_no_home(far_home: Household) -> None:
    assert far_home.manage("launch_batch", "--help").returncode == 0
    refused = far_home.manage("runmanager")
    assert refused.returncode == 2 and "manage.py demo" in refused.stderr
    assert not far_home.folder.exists()
