"""While a body runs, the thread's other databases are read-only: a branch writes to exactly one.

What it wrote elsewhere would be committed at once, whatever becomes of the batch. A thread of the body's own, and
connections it opens itself, are beyond reach.
"""

from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from coordination.errors import CoordinationError
from coordination.resources import sql as statements
from coordination.resources.enlisted import OnCommitInBranch


class WroteElsewhere(CoordinationError):
    """This task belongs to database {alias!r} and may only read from {other!r}: what it writes there is not undone.

    Pass using={alias!r} (the task's first argument) to the ORM, or make it a task of its own. Refused: {statement}
    """


class Guard:
    """Refuses writes and ``on_commit`` hooks on every alias but ``alias``, in this thread, inside ``with``.

    ``refused`` is the first error it raised: swallowed, it must still be a ``ROLLBACK`` vote.
    """

    def __init__(self, alias: str) -> None:
        self.refused: CoordinationError | None = None
        self._alias = alias
        self._guarded: list[tuple[BaseDatabaseWrapper, Callable[..., Any]]] = []

    def __enter__(self) -> "Guard":
        for other in connections:
            if other != self._alias:
                connection = connections[other]  # Connects nothing.
                refuse = self._refuser(other)
                connection.execute_wrappers.append(refuse)
                connection.on_commit = self._no_hooks  # type: ignore[method-assign]
                self._guarded.append((connection, refuse))
        return self

    def __exit__(self, *exc_info: object) -> None:
        for connection, refuse in self._guarded:
            connection.execute_wrappers.remove(refuse)
            connection.__dict__.pop("on_commit", None)

    def _refuser(self, other: str) -> Callable[..., Any]:
        def refuse(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
            text = statements.text_of(sql)
            if statements.writes(text, statements.first_word(text)):
                words = " ".join(text.split())[:100]
                raise self._remember(WroteElsewhere(alias=self._alias, other=other, statement=words))
            return execute(sql, params, many, context)

        return refuse

    def _no_hooks(self, func: Any, robust: bool = False) -> None:
        raise self._remember(OnCommitInBranch())

    def _remember(self, error: CoordinationError) -> CoordinationError:
        self.refused = self.refused or error
        return error
