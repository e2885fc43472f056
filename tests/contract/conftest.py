"""Both sides of the bus, for each pair of adapters."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from coordination.bus.port import NodeBus
from tests.contract.listening import Process
from tests.contract.pairs import Pair, RabbitMQPair


@pytest.fixture(params=["rabbitmq"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """A pair of adapters."""
    return RabbitMQPair(request.getfixturevalue(request.param))


@pytest_asyncio.fixture
async def node(pair: Pair) -> AsyncIterator[NodeBus]:
    """A node's bus, connected."""
    bus = pair.node()
    await bus.connect()
    yield bus
    await bus.close()


@pytest_asyncio.fixture
async def batch(node: NodeBus, pair: Pair) -> AsyncIterator[UUID]:
    """A batch whose queue, if the test makes one, is gone afterwards."""
    identity = uuid4()
    yield identity
    if pair.batch_queue_exists(identity):
        pair.delete_batch_queue(identity)


@pytest.fixture
def process(pair: Pair) -> Iterator[Callable[..., Process]]:
    """Makes the bus of a worker process, started; closed after the test."""
    made: list[Process] = []

    def make(name: str = "", aliases: Sequence[str] = (), *, hold: bool = False) -> Process:
        made.append(Process(pair.agent(name or f"worker-{uuid4().hex[:8]}", aliases), hold=hold))
        return made[-1].start()

    yield make
    for one in made:
        one.close()
