"""The only worker killed while it holds prepared tasks, before the decision and after it; another goes on."""

import pytest

from coordination.protocol.gid import parse
from tests.integration.batches import (
    adopted,
    attempts,
    doubled,
    ended,
    field,
    in_state,
    nothing_left,
    prepared,
    rows,
    start,
)
from tests.services import Process, Site


@pytest.fixture
def node(site: Site) -> Process:
    """A node; the site has the demo's customers."""
    site.manage("demo_data", check=True, env={"DEMO_PASSWORD": "for the tests"})
    return site.node()


def test_killed_before_the_decision(site: Site, node: Process) -> None:
    """Rows 13, 15. What it had prepared counts and is not run again; what it was running is."""
    doomed = site.worker("prefork", 2)
    good = start(site, tasks=16, fail_at=0, seconds=0.4)
    bad = start(site, customer="globex", tasks=16, fail_at=16, seconds=0.1)
    site.wait_until(lambda: in_state(site, good, "PREPARED") >= 4, 30, what="four tasks prepared")
    doomed.kill()
    held = prepared(site, good)
    assert len(held) >= 4
    assert rows(site, good) == 0
    site.worker("prefork", 2)
    assert (ended(site, good), ended(site, bad)) == ("COMMITTED", "ROLLED_BACK")
    assert held <= adopted(site, good)
    # One gid a task, one effect a task, no matter how often a task was begun.
    assert len(adopted(site, good)) == 16
    assert (rows(site, good), doubled(site, good), rows(site, bad)) == (160, [], 0)
    nothing_left(site, good, bad)


@pytest.mark.parametrize(
    ("fail_at", "deciding", "end"), [(0, "COMMITTING", "COMMITTED"), (5, "ROLLING_BACK", "ROLLED_BACK")]
)
def test_killed_after_the_decision(site: Site, node: Process, fail_at: int, deciding: str, end: str) -> None:
    """Rows 15, 32. Task 3 is on a server that is down when its batch is decided; then its worker dies."""
    doomed = site.worker("prefork", 1)
    batch = start(site, tasks=5, fail_at=fail_at, seconds=1)
    site.wait_until(lambda: in_state(site, batch, "PREPARED") >= 3, 30, what="three tasks prepared")
    site.postgres2.kill()
    try:
        site.wait_until(lambda: field(site, batch, "state") == deciding, 30, what="the decision")
        doomed.kill()
    finally:
        site.postgres2.start()
    # Task 3 for certain; the others too, if the worker died before it had finished them.
    assert 3 in {parts.branch for parts in map(parse, prepared(site, batch)) if parts}
    site.worker("threads", 2)
    assert ended(site, batch) == end
    assert (rows(site, batch), doubled(site, batch)) == (0 if fail_at else 50, [])
    assert set(attempts(site, batch).values()) == {1}
    nothing_left(site, batch)
