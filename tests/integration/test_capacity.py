"""Slots: a waiting task holds none of a worker's, and what the databases' prepared slots allow."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.batches import APPS, attempts, ended, field, in_state, nothing_left, rows, start
from tests.services import Site

SLOTS = 20


@pytest.fixture(scope="module")
def running(whole_site: Site) -> Iterator[Site]:
    """A node and one worker with two slots."""
    whole_site.demo_data()
    with whole_site.node(), whole_site.worker("prefork", 2, env=APPS):
        yield whole_site


@pytest.fixture
def few_slots(running: Site) -> Iterator[Site]:
    """The second server has few prepared slots."""
    server = running.postgres2
    before = server.settings["max_prepared_transactions"]
    server.restart(max_prepared_transactions=SLOTS)
    yield running
    server.restart(max_prepared_transactions=before)


def test_waiting_tasks_hold_no_worker_slot(running: Site, tmp_path: Path) -> None:
    """Row 22. 499 of 500 tasks are prepared, and the one worker's two slots run another batch to its end."""
    patient = start(running, "patient", tasks=500, seconds=12, path=tmp_path / "has run")
    running.wait_until(lambda: in_state(running, patient, "PREPARED") >= 400, 40, what="400 tasks prepared")
    other = start(running, customer="globex", tasks=9, fail_at=0)
    assert ended(running, other) == "COMMITTED"
    assert in_state(running, patient, "PREPARED") >= 400
    assert field(running, patient, "state") == "ACTIVE"
    assert rows(running, patient) == 0
    assert ended(running, patient) == "COMMITTED"
    assert rows(running, patient) == 500
    nothing_left(running, patient, other)


def test_the_second_waits_until_it_fits(few_slots: Site) -> None:
    """Row 22. Two batches of 15 tasks on a server with 20 prepared slots."""
    site = few_slots
    first = start(site, tasks=45, fail_at=0, seconds=0.2)
    site.wait_until(lambda: field(site, first, "state") == "ACTIVE", 20, what="the first admitted")
    second = start(site, customer="globex", tasks=45, fail_at=0)
    words = site.wait_until(lambda: field(site, second, "waiting_for"), 20, what="what the second waits for")
    assert words == "15 prepared slots on demo_crm, 5 free"
    assert (field(site, second, "state"), attempts(site, second)) == ("PENDING", {})
    assert (ended(site, first), ended(site, second)) == ("COMMITTED", "COMMITTED")
    sql = "SELECT b.dispatched >= a.ended FROM coordination_batch a, coordination_batch b WHERE a.id = %s AND b.id = %s"
    assert site.value("default", sql, [first, second])
    assert (rows(site, first), rows(site, second)) == (450, 450)
    nothing_left(site, first, second)


def test_one_that_never_fits(few_slots: Site) -> None:
    """Row 22."""
    site = few_slots
    batch = start(site, tasks=63, fail_at=0)
    assert ended(site, batch) == "ROLLED_BACK"
    reason = field(site, batch, "reason")
    assert "21 tasks write to the server of demo_crm" in reason
    assert "at most 20 prepared transactions: raise max_prepared_transactions" in reason
    assert attempts(site, batch) == {}
    assert in_state(site, batch, "NOT_RUN") == 63
    nothing_left(site, batch)


def test_a_server_that_hangs_holds_up_its_own_batches_only(running: Site) -> None:
    running.postgres2.suspend()
    try:
        first = start(running, tasks=9, fail_at=0)
        words = running.wait_until(lambda: field(running, first, "waiting_for"), 20, what="what the first waits for")
        assert words == "database demo_crm, which cannot be reached: it does not answer"
        other = start(running, customer="globex", tasks=2, fail_at=0)
        assert ended(running, other, timeout=5) == "COMMITTED"
        assert field(running, first, "state") == "PENDING"
    finally:
        running.postgres2.resume()
    assert ended(running, first) == "COMMITTED"
    assert (rows(running, first), rows(running, other)) == (90, 20)
    nothing_left(running, first, other)
