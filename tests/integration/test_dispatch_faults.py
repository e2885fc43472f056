"""The only node killed in the middle of sending its batches' tasks."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from coordination.protocol.gid import parse
from tests.integration.batches import (
    adopted,
    attempts,
    doubled,
    ended,
    in_state,
    nothing_left,
    prepared,
    rows,
    start,
)
from tests.services import Site
from tests.services.proxy import Proxy

TASKS = 1800
"""Several chunks of a dispatch, and as many as two such batches may prepare on these servers."""


@pytest.fixture(scope="module")
def working(whole_site: Site) -> Iterator[Site]:
    """Customers and a worker; nodes are each test's own."""
    whole_site.manage("demo_data", check=True, env={"DEMO_PASSWORD": "for the tests"})
    with whole_site.worker("prefork", 2):
        yield whole_site


def test_the_only_node_killed_in_the_middle_of_dispatch(working: Site, site: Site) -> None:
    good = start(site, tasks=TASKS, fail_at=0, rows=1)
    bad = start(site, customer="globex", tasks=TASKS, fail_at=TASKS, rows=1)
    with Proxy(site.rabbitmq.port) as slow:
        # What the node sends to the broker takes seconds, so that there is a middle to be hit.
        slow.delay(0.05)
        url = site.rabbitmq.url.replace(str(site.rabbitmq.port), str(slow.port))
        node = site.node(env={"AMQP_URL": url})
        some_of_each_sent(site, good, bad)
        node.kill()
    # A task that was sent is in the queue or, as none has failed yet, prepared. Counted in this order, one that moves
    # meanwhile is counted twice.
    sent = site.rabbitmq.queues()["celery"].messages + len(prepared(site, good)) + len(prepared(site, bad))
    stored = [number_sent(site, batch) for batch in (good, bad)]
    assert 0 < sent < 2 * TASKS, sent
    assert all(0 < each < TASKS for each in stored), stored
    voted = {batch: numbers(adopted(site, batch) | prepared(site, batch)) for batch in (good, bad)}
    assert voted[good]

    began = time.monotonic()
    site.node()
    assert (ended(site, good), ended(site, bad)) == ("COMMITTED", "ROLLED_BACK")
    took = time.monotonic() - began
    assert (rows(site, good), doubled(site, good), rows(site, bad)) == (TASKS, [], 0)
    assert in_state(site, good, "COMMITTED") == TASKS
    ran = {batch: attempts(site, batch) for batch in (good, bad)}
    for batch in (good, bad):
        assert {number: ran[batch][number] for number in voted[batch] if ran[batch].get(number, 1) > 1} == {}
    nothing_left(site, good, bad)
    more = sum(times > 1 for times in ran[good].values())
    print(
        f"\nkilled with {stored} of {TASKS} tasks each stored as sent and at most {sent} of {2 * TASKS} sent,"
        f" {len(voted[good])} and {len(voted[bad])} voted; both ended {took:.1f} s after the next node was ready;"
        f" {more} tasks of the one that committed were run more than once"
    )
    assert took < 60


def some_of_each_sent(site: Site, good: str, bad: str) -> None:
    """Return at the first moment at which the journal has some of each batch as sent, and some of ``good`` voted.

    A promise that was just made counts for a vote: by the time it is in the journal, a busy node may be done sending.
    """
    sql = (
        "SELECT count(*) FILTER (WHERE batch_id = %(good)s), count(*) FILTER (WHERE batch_id = %(bad)s)"
        " FROM coordination_branch WHERE batch_id IN (%(good)s, %(bad)s) AND sent"
    )
    promised = "SELECT count(*) FROM pg_prepared_xacts WHERE position(%(hex)s in gid) > 0"
    with site.postgres.connect("journal") as journal:

        def look() -> Any:
            row = journal.execute(sql, {"good": good, "bad": bad}).fetchone()
            voted = journal.execute(promised, {"hex": good.replace("-", "")}).fetchone()
            return row is not None and all(row) and voted is not None and all(voted)

        site.wait_until(look, 30, every=0.005, what="some tasks of each batch sent")


def number_sent(site: Site, batch: str) -> int:
    """How many of its tasks the journal has as sent."""
    return int(site.value("default", "SELECT count(*) FROM coordination_branch WHERE batch_id = %s AND sent", [batch]))


def numbers(gids: set[str]) -> set[int]:
    """The tasks these gids belong to."""
    return {parts.branch for parts in map(parse, gids) if parts}
