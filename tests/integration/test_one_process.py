"""Node, agent and worker in one process without a broker: both outcomes, and a loop that keeps its time."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.batches import attempts, nothing_left, rows
from tests.services import Site

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.integration.one_process.settings"}


@pytest.fixture(scope="module")
def customers(whole_site: Site) -> Site:
    """The site with the demo's customers."""
    whole_site.demo_data()
    return whole_site


def run(site: Site, *batches: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the batches in one process, to its end."""
    program = [sys.executable, "-m", "tests.integration.one_process"]
    done: subprocess.CompletedProcess[str] = site.run(
        [*program, *(json.dumps(batch) for batch in batches)], env=SETTINGS, timeout=150, check=True
    )
    assert not re.search(r"(WARNING|ERROR|CRITICAL) (coordination|asyncio)", done.stderr), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_both_outcomes(customers: Site, site: Site) -> None:
    failed, done = run(site, {"tasks": 100, "fail_at": 50}, {"tasks": 100, "fail_at": 0})
    assert (failed["summary"]["state"], done["summary"]["state"]) == ("ROLLED_BACK", "COMMITTED")
    assert "Task 50 of 100 failed: ZeroDivisionError" in failed["summary"]["reason"]
    ids = [result["summary"]["id"] for result in (failed, done)]
    assert [rows(site, batch) for batch in ids] == [0, 1000]
    assert set(attempts(site, ids[1]).values()) == {1}
    nothing_left(site, *ids)


def test_the_loop_keeps_its_time_while_two_thousand_tasks_run(customers: Site, site: Site) -> None:
    (done,) = run(site, {"tasks": 2000, "fail_at": 0})
    print(f"2,000 tasks took {done['seconds']:g} s; the loop was {done['lag']:g} ms late at worst")
    assert done["summary"]["state"] == "COMMITTED"
    assert rows(site, done["summary"]["id"]) == 20_000
    assert done["lag"] < 200
    nothing_left(site, done["summary"]["id"])
