"""The engine of a resource test."""

from collections.abc import Iterator

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from coordination.resources.base import Resource
from coordination.resources.postgresql import PostgreSQLResource
from tests.contract.engines import ALIAS, INSTALLATION, PostgreSQLEngine
from tests.services import PostgreSQL


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
