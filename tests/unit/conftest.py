"""What unit tests of sockets share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from tests.services import wait_until

BUSY = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND state <> 'idle'
"""


@pytest.fixture
def sqlite_alias(tmp_path: Path) -> Iterator[str]:
    """An alias of a SQLite database, which nobody connects to."""
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "x.sqlite3"), "OPTIONS": {}}
    connections.settings["a_file"] = {**connections.settings["demo_crm"], **settings}
    yield "a_file"
    del connections.settings["a_file"]
    if hasattr(connections._connections, "a_file"):
        del connections["a_file"]


@pytest.fixture
def readers_rest(transactional_db: None) -> Iterator[None]:
    """After the test, wait for what a socket's threads still read: emptying the tables would deadlock with it."""
    yield
    with connections["default"].cursor() as cursor:

        def at_rest() -> bool:
            cursor.execute(BUSY)
            return cursor.fetchone() == (0,)

        wait_until(at_rest, 10, every=0.02, what="the readers of a socket to rest")
