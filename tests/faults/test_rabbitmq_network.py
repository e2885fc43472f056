"""The way to RabbitMQ fails, or RabbitMQ stands still, in the middle of a batch. Nobody is told."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.integration.batches import attempts, doubled, ended, in_state, nothing_left, rows, start
from tests.services import Process, Site
from tests.services.proxy import Proxy

FAULT_SECONDS = 7.0
"""Longer than any call waits for the broker."""


@pytest.fixture(scope="module")
def proxy(whole_site: Site) -> Iterator[Proxy]:
    with Proxy(whole_site.rabbitmq.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def processes(whole_site: Site, proxy: Proxy) -> Iterator[list[Process]]:
    """A node and a worker that reach RabbitMQ through the proxy."""
    whole_site.demo_data()
    env = {"AMQP_URL": whole_site.rabbitmq.url.replace(str(whole_site.rabbitmq.port), str(proxy.port))}
    with whole_site.node(env=env) as node, whole_site.worker("prefork", 2, env=env) as worker:
        yield [node, worker]


@contextmanager
def black_hole(site: Site, proxy: Proxy) -> Iterator[None]:
    """Connections stay, nothing passes."""
    proxy.black_hole()
    yield
    proxy.pass_on()


@contextmanager
def standing_still(site: Site, proxy: Proxy) -> Iterator[None]:
    """The broker's process is stopped, and continued."""
    site.rabbitmq.suspend()
    yield
    site.rabbitmq.resume()


@pytest.mark.parametrize("fault", [black_hole, standing_still])
def test_in_the_middle_of_a_batch(
    processes: list[Process], proxy: Proxy, site: Site, fault: Callable[[Site, Proxy], AbstractContextManager[None]]
) -> None:
    """Row 29. Calls are bounded, so the node goes on keeping its lease; nobody exits; the batch commits."""
    batch = start(site, tasks=12, fail_at=0, seconds=0.4)
    site.wait_until(lambda: in_state(site, batch, "PREPARED") >= 2, 30, what="two votes stored")
    with fault(site, proxy):
        until = time.monotonic() + FAULT_SECONDS
        while time.monotonic() < until:
            age = "SELECT extract(epoch FROM clock_timestamp() - max(heartbeat))::float8 FROM coordination_node"
            assert site.value("default", age) < 5, "the node is held up by the broker"
            time.sleep(0.2)
    began = time.monotonic()
    assert ended(site, batch) == "COMMITTED"
    print(f"{fault.__name__}: ended {time.monotonic() - began:.1f} s after it; attempts {attempts(site, batch)}")
    assert (rows(site, batch), doubled(site, batch)) == (120, [])
    assert all(process.alive for process in processes)
    nothing_left(site, batch)
