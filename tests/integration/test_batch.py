"""The whole path through real parts: 100 tasks on three databases of two servers, both outcomes."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.services import Process, Site

ALIASES = ("demo_ledger", "demo_warehouse", "demo_crm")


@pytest.fixture(scope="module")
def running(whole_site: Site) -> Iterator[Site]:
    """The site with customers, a node, a prefork and a threads worker."""
    whole_site.demo_data()
    with whole_site.node(), whole_site.worker("prefork", 2), whole_site.worker("threads", 2):
        yield whole_site


def launch(site: Site, customer: str, *args: str) -> Process:
    return site.popen("launch", [sys.executable, "manage.py", "launch_batch", customer, "demo", *args])


def rows(site: Site) -> int:
    return sum(site.value(alias, "SELECT count(*) FROM demo_entry") for alias in ALIASES)


def test_a_hundred_tasks_commit_or_roll_back_together(running: Site) -> None:
    before = rows(running)
    failed = running.manage("launch_batch", "acme", "demo", timeout=60)
    assert failed.returncode == 3, failed.stderr
    assert "Task 50 of 100 failed: ZeroDivisionError" in failed.stdout
    assert rows(running) == before
    running.wait_until(lambda: running.prepared() == [], 20, what="nothing prepared")
    assert rows(running) == before
    done = running.manage("launch_batch", "acme", "demo", "--param=fail_at=0", timeout=60)
    assert done.returncode == 0, done.stderr
    assert rows(running) == before + 1000
    assert running.prepared() == []


def test_nothing_is_visible_before_the_decision(running: Site) -> None:
    """Tasks that take a while: prepared transactions pile up, and not one row can be seen until all are."""
    before, began = rows(running), datetime.now(UTC)
    batch = launch(running, "globex", "--param=tasks=12", "--param=seconds=1", "--param=fail_at=0")
    seen = []

    def decided() -> bool:
        prepared, visible = len(running.prepared()), rows(running) - before
        state = running.value(
            "default",
            "SELECT state FROM coordination_batch b JOIN coordination_customer c ON c.id = b.customer_id"
            " WHERE c.slug = 'globex' AND b.created > %s ORDER BY b.created DESC LIMIT 1",
            [began],
        )
        if state == "ACTIVE":
            seen.append((prepared, visible))
        return bool(state == "COMMITTED")

    running.wait_until(decided, 60, what="committed")
    assert max(prepared for prepared, _ in seen) >= 4
    assert {visible for _, visible in seen[:-1]} == {0}
    assert rows(running) == before + 120
    assert batch.wait(20) == 0
