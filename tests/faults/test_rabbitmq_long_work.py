"""Tasks that work longer than the broker or Celery lets them."""

import time
from collections.abc import Iterator

import pytest

from tests.integration.batches import APPS, attempts, doubled, ended, field, nothing_left, rows, start
from tests.services import RabbitMQ, Site

SECONDS = 3
"""How long this broker lets a delivery lie unacknowledged; RabbitMQ's default is half an hour."""


@pytest.fixture(scope="module")
def impatient(whole_site: Site) -> Iterator[Site]:
    """A node and a worker with more slots than tasks, on a broker that soon asks for acknowledgements."""
    whole_site.demo_data()
    give_up_after(whole_site.rabbitmq, SECONDS, look_every=0.5)
    with whole_site.node(), whole_site.worker("prefork", 5, env=APPS) as worker:
        yield whole_site
        assert worker.alive
    give_up_after(whole_site.rabbitmq, 30 * 60, look_every=60)


def give_up_after(server: RabbitMQ, seconds: float, *, look_every: float) -> None:
    """How long deliveries may lie unacknowledged, on channels opened from now on."""
    settings = {"consumer_timeout": seconds, "channel_tick_interval": look_every}
    calls = [f"application:set_env(rabbit, {name}, {value * 1000:.0f})" for name, value in settings.items()]
    server.ctl("eval", ", ".join(calls) + ".")


@pytest.fixture(scope="module")
def hanging(impatient: Site) -> str:
    """A batch whose last task is killed each time, by Celery's hard limit. It takes a while: begun first."""
    return start(impatient, "odd", customer="globex", how="hangs", path="unused")


def test_longer_than_the_brokers_patience(impatient: Site, site: Site, hanging: str) -> None:
    """Rows 16, 48. The broker delivers the tasks again while they run, twice: the runs that are under way go on."""
    began = time.monotonic()
    batch = start(site, tasks=2, fail_at=0, seconds=2 * SECONDS + 3)
    assert ended(site, batch) == "COMMITTED"
    print(f"ended after {time.monotonic() - began:.1f} s; attempts by task {attempts(site, batch)}")
    assert attempts(site, batch) == {1: 1, 2: 1}
    assert (rows(site, batch), doubled(site, batch)) == (20, [])
    nothing_left(site, batch)


def test_longer_than_celerys_soft_limit(impatient: Site, site: Site) -> None:
    """Row 48. The limit is an exception in the task, so a vote."""
    batch = start(site, "odd", how="too_slow", path="unused")
    assert ended(site, batch) == "ROLLED_BACK"
    assert "SoftTimeLimitExceeded" in field(site, batch, "reason")
    assert rows(site, batch) == 0
    nothing_left(site, batch)


def test_longer_than_celerys_hard_limit(impatient: Site, site: Site, hanging: str) -> None:
    """Rows 43, 48. Nobody says that the process was killed: it is noticed, and the third start is a vote."""
    assert ended(site, hanging) == "ROLLED_BACK"
    took = site.value("default", "SELECT ended - dispatched FROM coordination_batch WHERE id = %s", [hanging])
    print(f"ended after {took.total_seconds():.1f} s: {field(site, hanging, 'reason')}")
    assert "a hard time limit" in field(site, hanging, "reason")
    assert rows(site, hanging) == 0
    nothing_left(site, hanging)
