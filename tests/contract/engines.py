"""The engines the resource contract is held against: each a running server with an empty database behind an alias."""

import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from coordination.participant.enlist import Guard
from coordination.protocol import gid as gids
from coordination.protocol.attempt import Prepared
from coordination.protocol.messages import Failure
from coordination.resources.base import Resource
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


class PostgreSQLEngine:
    """A database of its own on the tests' first server."""

    database = "contract"

    def __init__(self, server: PostgreSQL, make: Callable[[str], Resource]) -> None:
        self.server = server
        self.make = make
        """Another process's view of the same database: a resource with connections of its own."""
        self.resource = make(ALIAS)
        self.batch = uuid.uuid4()

    def query(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """As a stranger sees it."""
        return self.server.query(self.database, sql, params)

    def values(self) -> list[str]:
        """The rows anybody can see."""
        return [row[0] for row in self.query("SELECT value FROM thing ORDER BY id")]

    def prepared(self) -> list[str]:
        """All gids prepared in this database."""
        return [gid for database, gid in self.server.prepared() if database == self.database]

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


def insert(value: str, key: int | None = None) -> Callable[[str], None]:
    """A body that inserts one row."""

    def body(db: str) -> None:
        with connections[db].cursor() as cursor:
            if key is None:
                cursor.execute("INSERT INTO thing (value) VALUES (%s)", [value])
            else:
                cursor.execute("INSERT INTO thing (id, value) VALUES (%s, %s)", [key, value])

    return body
