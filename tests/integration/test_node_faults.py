"""Nodes that die, end and share: batches go on where they were."""

import time
from collections.abc import Iterator

import pytest

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
from tests.services import Site


@pytest.fixture(scope="module")
def working(whole_site: Site) -> Iterator[Site]:
    """Customers and a worker; nodes are each test's own."""
    whole_site.manage("demo_data", check=True, env={"DEMO_PASSWORD": "for the tests"})
    with whole_site.worker("prefork", 2):
        yield whole_site


def test_the_only_node_killed_in_the_middle_of_the_votes(working: Site, site: Site) -> None:
    """Row 1. The next one goes on from the journal and from what waits in the batch's queue; nothing is done twice."""
    node = site.node()
    good = start(site, tasks=40, fail_at=0, seconds=0.25)
    bad = start(site, customer="globex", tasks=40, fail_at=40, seconds=0.05)
    site.wait_until(lambda: in_state(site, good, "PREPARED") >= 8, 30, what="eight votes stored")
    node.kill()
    stored = in_state(site, good, "PREPARED")
    held = prepared(site, good)
    assert 8 <= stored < 40
    # The worker goes on without a node: votes wait in the batch's queue.
    site.wait_until(lambda: len(prepared(site, good)) >= stored + 4, 30, what="votes nobody hears")
    assert rows(site, good) == 0
    site.node()
    assert (ended(site, good), ended(site, bad)) == ("COMMITTED", "ROLLED_BACK")
    assert (rows(site, good), doubled(site, good), rows(site, bad)) == (400, [], 0)
    assert held <= adopted(site, good)
    assert set(attempts(site, good).values()) == {1}
    assert field(site, good, "epoch") == 2
    nothing_left(site, good, bad)


def test_the_broker_loses_everything_while_no_node_runs(working: Site, site: Site) -> None:
    """Votes nobody heard and tasks nobody began are gone: asked for and sent again, long before the deadline."""
    node = site.node()
    batch = start(site, tasks=60, fail_at=0, seconds=0.2)
    site.wait_until(lambda: in_state(site, batch, "PREPARED") >= 4, 30, what="four votes stored")
    node.kill()
    stored = in_state(site, batch, "PREPARED")
    site.wait_until(lambda: len(prepared(site, batch)) >= stored + 4, 30, what="votes nobody hears")
    site.rabbitmq.wipe()
    assert len(prepared(site, batch)) < 60
    began = time.monotonic()
    site.node()
    assert ended(site, batch) == "COMMITTED"
    took = time.monotonic() - began
    print(f"ended {took:.1f} s after a node was there again")
    assert (rows(site, batch), doubled(site, batch)) == (600, [])
    nothing_left(site, batch)


def test_a_node_that_is_stopped_hands_over(working: Site, site: Site) -> None:
    """Row 11. SIGTERM: another node has its batches within a second or two, long before a lease would have run out."""
    first = site.node()
    batch = start(site, tasks=24, fail_at=0, seconds=0.25)
    site.wait_until(lambda: in_state(site, batch, "PREPARED") >= 4, 30, what="four votes stored")
    before = field(site, batch, "node")
    site.node()
    first.stop()
    site.wait_until(lambda: field(site, batch, "node") != before, 2.5, every=0.05, what="another node")
    assert ended(site, batch) == "COMMITTED"
    assert (rows(site, batch), doubled(site, batch)) == (240, [])
    assert set(attempts(site, batch).values()) == {1}
    nothing_left(site, batch)
