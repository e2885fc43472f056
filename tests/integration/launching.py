"""What the tests of `launch_batch` share."""

import re
import subprocess
import sys
from typing import Any

import pytest

from tests.services import Process, Site


@pytest.fixture(scope="module")
def customers(whole_site: Site) -> Site:
    """The site with the demo's customers."""
    whole_site.demo_data()
    return whole_site


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
