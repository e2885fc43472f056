"""Both sides of the bus, for each pair of adapters; and a database of each engine."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from django.db import connections
from pytest_django import DjangoDbBlocker

from coordination.bus.port import NodeBus
from coordination.resources.base import Resource
from coordination.resources.held import HeldResource
from coordination.resources.postgresql import PostgreSQLResource
from tests.conftest import SCRATCH
from tests.contract.engines import (
    ALIAS,
    INSTALLATION,
    Engine,
    HeldEngine,
    HeldPostgreSQLEngine,
    PostgreSQLEngine,
    SQLiteEngine,
)
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


@pytest.fixture
def engine(postgres: PostgreSQL, django_db_blocker: DjangoDbBlocker) -> Iterator[PostgreSQLEngine]:
    """PostgreSQL, which prepares."""
    with django_db_blocker.unblock(), _postgresql(postgres) as database:
        yield PostgreSQLEngine(postgres, database.make(PostgreSQLResource))


@pytest.fixture(params=["sqlite", "postgresql"])
def held_engine(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[HeldEngine]:
    """An engine whose transactions are held open."""
    with django_db_blocker.unblock():
        if request.param == "sqlite":
            with _sqlite(request.getfixturevalue("tmp_path") / "a file.sqlite3") as (database, file):
                yield SQLiteEngine(file, database.make(HeldResource))
        else:
            server = request.getfixturevalue("postgres")
            with _postgresql(server) as database:
                yield HeldPostgreSQLEngine(server, database.make(HeldResource))


@pytest.fixture(params=["prepares", "held-sqlite", "held-postgresql"])
def any_engine(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[Engine]:
    """Every engine there is."""
    with django_db_blocker.unblock():
        if request.param == "held-sqlite":
            with _sqlite(request.getfixturevalue("tmp_path") / "a file.sqlite3") as (database, file):
                yield SQLiteEngine(file, database.make(HeldResource))
            return
        server = request.getfixturevalue("postgres")
        with _postgresql(server) as database:
            if request.param == "prepares":
                yield PostgreSQLEngine(server, database.make(PostgreSQLResource))
            else:
                yield HeldPostgreSQLEngine(server, database.make(HeldResource))


class _Resources:
    """Makes resources, and closes them."""

    def __init__(self) -> None:
        self._made: list[Any] = []

    def make(self, kind: type[Any]) -> Callable[[str], Resource]:
        """Makes another process's view of a database."""

        def make(alias: str) -> Any:
            self._made.append(kind(alias, installation=INSTALLATION))
            return self._made[-1]

        return make

    def close(self) -> None:
        """Close them all."""
        for resource in self._made:
            resource.close()


@contextmanager
def _behind_the_alias(**changes: Any) -> Iterator[_Resources]:
    """Point the alias elsewhere, for this process."""
    before = connections.settings[ALIAS]
    connections[ALIAS].close()
    connections.settings[ALIAS] = {**before, "OPTIONS": dict(before["OPTIONS"]), **changes}
    del connections[ALIAS]
    resources = _Resources()
    try:
        yield resources
    finally:
        resources.close()
        connections[ALIAS].close()
        connections.settings[ALIAS] = before
        del connections[ALIAS]


@contextmanager
def _postgresql(server: PostgreSQL) -> Iterator[_Resources]:
    name = PostgreSQLEngine.database
    with _behind_the_alias(NAME=name) as resources:
        server.createdb(name)
        server.query(name, "CREATE TABLE thing (id serial PRIMARY KEY, value text)")
        yield resources
    for database, gid in server.prepared():
        if database == name:
            server.query(name, f"ROLLBACK PREPARED '{gid}'")
    server.dropdb(name)


@contextmanager
def _sqlite(file: Path) -> Iterator[tuple[_Resources, Path]]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE thing (id integer PRIMARY KEY, value text)")
    with _behind_the_alias(
        ENGINE="django.db.backends.sqlite3", NAME=str(file), HOST="", PORT="", USER="", PASSWORD="", OPTIONS={}
    ) as resources:
        yield resources, file
