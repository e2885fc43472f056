"""The engines the resource contract is held against: each a running server with an empty database behind an alias."""

import contextlib
import secrets
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from django.db import connections

from coordination.participant.enlist import Guard
from coordination.protocol import gid as gids
from coordination.protocol.attempt import Prepared
from coordination.protocol.messages import Failure
from coordination.resources.base import Resource
from coordination.resources.held import HeldResource
from tests.services import PostgreSQL

INSTALLATION = "c0ffee00"
ALIAS = "demo_ledger"
"""The alias that is pointed at the engine's database for the length of a test."""


@dataclass
class Ending:
    """How one execution of a body went."""

    gid: str
    value: Any = None
    error: BaseException | None = None
    problem: Failure | None = None
    wrote: bool = False
    prepared: Prepared | None = None
    failure: Failure | None = None
    proof: str | None = None
    rows: int = 0
    found: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """Why it was not prepared."""
        failure = self.problem or self.failure
        return failure.message if failure else str(self.error or "")


class Engine:
    """A database with an empty table ``thing(id, value)`` behind ``ALIAS``."""

    knows_reads: ClassVar[bool] = True
    """Whether a body that wrote nothing is told from one that did."""

    def __init__(self, make: Callable[[str], Resource]) -> None:
        self.make = make
        """Another process's view of the same database: a resource with connections of its own."""
        self.resource = make(ALIAS)
        self.batch = uuid.uuid4()

    def query(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """As a stranger sees it."""
        raise NotImplementedError

    def prepared(self) -> list[str]:
        """All gids of this test's batch that wait for their end."""
        raise NotImplementedError

    def values(self) -> list[str]:
        """The rows anybody can see."""
        return [row[0] for row in self.query("SELECT value FROM thing ORDER BY id")]

    def gid(self, branch: int = 1, *, installation: str = INSTALLATION) -> str:
        """A fresh gid of a branch of this test's batch."""
        token = secrets.token_hex(8)
        return gids.build(installation=installation, batch=self.batch, branch=branch, round=0, token=token)

    def run(
        self,
        body: Callable[[str], Any],
        *,
        branch: int = 1,
        gid: str | None = None,
        ask: bool = False,
        lock_timeout: float = 5,
        resource: Resource | None = None,
    ) -> Ending:
        """One execution of ``body``, as a participant carries it out."""
        gid = gid or self.gid(branch)
        work = (resource or self.resource).begin(
            gid=gid, batch=self.batch, branch=branch, ask=ask, lock_timeout=lock_timeout
        )
        end = Ending(gid, found=[found.gid for found in work.found])
        guard = Guard(ALIAS)
        try:
            with guard:
                end.value = body(ALIAS)
        except Exception as error:
            end.error = error
            end.failure = Failure(type=type(error).__name__, message=f"{error} {work.explain(error)}")
            work.undo()
        else:
            end.problem = work.problem()
            if end.problem is None and guard.refused is not None:
                end.problem = Failure(type="", message=str(guard.refused))
            end.rows, end.proof = work.rows, work.proof
            if end.problem is None and work.wrote():
                end.wrote = True
                end.prepared, end.failure = work.prepare()
            if end.prepared is not Prepared.DONE:
                work.undo()
        work.release()
        return end


class PostgreSQLEngine(Engine):
    """A database of its own on the tests' first server."""

    database = "contract"

    def __init__(self, server: PostgreSQL, make: Callable[[str], Resource]) -> None:
        self.server = server
        super().__init__(make)

    def query(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        return self.server.query(self.database, sql, params)

    def prepared(self) -> list[str]:
        return [gid for database, gid in self.server.prepared() if database == self.database]


class HeldEngine(Engine):
    """One whose transactions are held open."""

    resource: HeldResource
    knows_reads = False

    def prepared(self) -> list[str]:
        return [found.gid for branch in range(20) for found in self.resource.prepared_of(self.batch, branch)]

    def lose(self, gid: str) -> None:
        """Have the database end the transaction of ``gid``, as an accident would."""
        raise NotImplementedError


class HeldPostgreSQLEngine(HeldEngine, PostgreSQLEngine):
    """The same database, not asked to prepare."""

    def lose(self, gid: str) -> None:
        pid = self.resource._parked[gid].wrapper.connection.info.backend_pid
        self.query("SELECT pg_terminate_backend(%s, 5000)", [pid])


class SQLiteEngine(HeldEngine):
    """A file."""

    def __init__(self, file: Path, make: Callable[[str], Resource]) -> None:
        self.file = file
        super().__init__(make)

    def query(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.file, timeout=1, isolation_level=None)) as connection:
            return list(connection.execute(sql, params or ()))

    def lose(self, gid: str) -> None:
        self.file.rename(self.file.with_suffix(".away"))


def insert(value: str, key: int | None = None) -> Callable[[str], None]:
    """A body that inserts one row."""

    def body(db: str) -> None:
        with connections[db].cursor() as cursor:
            if key is None:
                cursor.execute("INSERT INTO thing (value) VALUES (%s)", [value])
            else:
                cursor.execute("INSERT INTO thing (id, value) VALUES (%s, %s)", [key, value])

    return body
