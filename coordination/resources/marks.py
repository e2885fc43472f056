"""The mark that a database of tasks bears: the latest generation of the journal that has worked with it.

One row for each installation, in a small table that is made when it is first needed. It is looked at so rarely that
no connection is kept for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, InterfaceError

from .base import ResourceError
from .kept import KeptConnections

TABLE = "coordination_mark"
CREATE = f"CREATE TABLE IF NOT EXISTS {TABLE} (installation varchar(8) PRIMARY KEY, generation bigint NOT NULL)"


def read(alias: str, installation: str) -> int:
    """The generation that the database knows; 0 if it knows none. Raises ResourceError."""
    with _cursor(alias) as cursor:
        if not _has_table(cursor):
            return 0
        cursor.execute(f"SELECT generation FROM {TABLE} WHERE installation = %s", [installation])
        row = cursor.fetchone()
        return int(row[0]) if row else 0


def write(alias: str, installation: str, generation: int) -> None:
    """Have the database know ``generation``, unless it knows a later one. Raises ResourceError."""
    with _cursor(alias) as cursor:
        if not _has_table(cursor):
            cursor.execute(CREATE)
        cursor.execute(
            f"INSERT INTO {TABLE} AS mark VALUES (%s, %s) ON CONFLICT (installation) DO UPDATE"
            " SET generation = EXCLUDED.generation WHERE mark.generation < EXCLUDED.generation",
            [installation, generation],
        )


def _has_table(cursor: Any) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [TABLE])
    return bool(cursor.fetchone()[0])


@contextmanager
def _cursor(alias: str) -> Iterator[Any]:
    kept = KeptConnections(alias)
    wrapper = kept.take()
    try:
        with wrapper.cursor() as cursor:
            yield cursor
    except (DatabaseError, InterfaceError) as error:
        words = " ".join(str(error).split())
        raise ResourceError(
            f"Database {alias!r} and its table {TABLE}: {words} (if rights are missing: {CREATE};"
            f" GRANT SELECT, INSERT, UPDATE ON {TABLE} TO the node's account)"
        ) from error
    finally:
        kept.drop(wrapper)
