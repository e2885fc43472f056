"""Both sides of the bus over RabbitMQ, on a broker that may be broken, through a proxy that can misbehave."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from uuid import uuid4

import pytest
import pytest_asyncio

from coordination.bus.port import NodeBus
from tests.contract.listening import Process
from tests.contract.pairs import RabbitMQPair
from tests.services import RabbitMQ
from tests.services.proxy import Proxy

MakeProcess = Callable[..., Process]


@pytest.fixture
def server(breakable_rabbitmq: RabbitMQ) -> RabbitMQ:
    """A broker that these tests may break, running."""
    breakable_rabbitmq.start()
    return breakable_rabbitmq


@pytest.fixture
def proxy(server: RabbitMQ) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def pair(server: RabbitMQ, proxy: Proxy) -> RabbitMQPair:
    """Both sides reach the broker through the proxy."""
    return RabbitMQPair(server, server.url.replace(str(server.port), str(proxy.port)))


@pytest_asyncio.fixture
async def node(pair: RabbitMQPair) -> AsyncIterator[NodeBus]:
    bus = pair.node()
    await bus.connect()
    yield bus
    began = time.monotonic()
    await bus.close()
    assert time.monotonic() - began < 2.5, "close is bounded, whatever state things are in"


@pytest.fixture
def process(pair: RabbitMQPair) -> Iterator[MakeProcess]:
    made: list[Process] = []

    def make(name: str = "", aliases: Sequence[str] = ()) -> Process:
        made.append(Process(pair.agent(name or f"worker-{uuid4().hex[:8]}", aliases)))
        return made[-1].start()

    yield make
    for one in made:
        one.close()
