"""Both sides of the bus, for each pair of adapters; and a database of each engine."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from django.db import connections
from pytest_django import DjangoDbBlocker

from coordination.bus.port import NodeBus
from coordination.resources.base import Resource
from coordination.resources.postgresql import PostgreSQLResource
from tests.conftest import SCRATCH
from tests.contract.engines import ALIAS, INSTALLATION, PostgreSQLEngine
from tests.contract.listening import Process
from tests.contract.pairs import LocalPair, Pair, RabbitMQPair
from tests.services import PostgreSQL, RabbitMQ


@pytest.fixture(scope="session")
def breakable_rabbitmq() -> Iterator[RabbitMQ]:
    """A broker for tests that break it, away from everyone else's."""
    server = RabbitMQ("breakable", scratch=SCRATCH)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["local", "rabbitmq"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """A pair of adapters."""
    return LocalPair() if request.param == "local" else RabbitMQPair(request.getfixturevalue("rabbitmq"))


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


@pytest.fixture(params=["postgresql"])
def engine(postgres: PostgreSQL, django_db_blocker: DjangoDbBlocker) -> Iterator[PostgreSQLEngine]:
    """An engine with an empty table ``thing(id, value)``, behind ``ALIAS``."""
    before = connections.settings[ALIAS]["NAME"]
    connections[ALIAS].close()
    name = connections.settings[ALIAS]["NAME"] = connections[ALIAS].settings_dict["NAME"] = PostgreSQLEngine.database
    postgres.createdb(name)
    postgres.query(name, "CREATE TABLE thing (id serial PRIMARY KEY, value text)")
    made: list[PostgreSQLResource] = []

    def make(alias: str) -> Resource:
        made.append(PostgreSQLResource(alias, installation=INSTALLATION))
        return made[-1]

    with django_db_blocker.unblock():
        yield PostgreSQLEngine(postgres, make)
        for resource in made:
            resource.close()
        connections[ALIAS].close()
    connections.settings[ALIAS]["NAME"] = connections[ALIAS].settings_dict["NAME"] = before
    for database, gid in postgres.prepared():
        if database == name:
            postgres.query(name, f"ROLLBACK PREPARED '{gid}'")
    postgres.dropdb(name)
