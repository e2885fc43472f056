"""A connection of ours behind the Django alias of a thread, for the length of a task's body.

1.  Whatever the body writes through the alias — ORM, cursors, nested ``atomic()`` — is in our transaction. A real
    ``Atomic`` is entered, so Django itself refuses ``commit()``, ``set_autocommit`` and ``atomic(durable=True)``.
2.  The body cannot end the transaction by SQL, nor register ``on_commit`` hooks, which nobody could run.
3.  A database error that no ROLLBACK TO SAVEPOINT has undone is remembered, swallowed by the task's author or not.
4.  When the body is done the ``Atomic`` is disarmed instead of left, because leaving it would commit.

Uses these private names of Django 5.2, held still by ``tests/contract/test_resource.py``: ``connections._connections``,
``atomic_blocks``, ``savepoint_ids``, ``closed_in_transaction``, ``run_on_commit``.
"""

from collections.abc import Callable
from typing import Any

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from coordination.errors import CoordinationError

from . import sql as statements


class TransactionEnded(CoordinationError):
    """A task of a batch must not end or begin a transaction ({statement}): the batch's decision does.

    Use atomic() for a part that may fail, or split the work into two batches.
    """


class OnCommitInBranch(CoordinationError):
    """transaction.on_commit() cannot work in a task of a batch: another process may commit it, after the decision.

    Give the launch on_committed=… or on_rolled_back=…, Celery signatures that are sent after the end.
    """


class BatchIsOver(CoordinationError):
    """The batch of this task is decided: what it still does cannot count, and is undone. Nothing is to be mended."""


class Watch:
    """Django's execute wrapper around every statement of a body."""

    def __init__(self) -> None:
        self.over = False
        """The batch is over: the body's next statement is refused, but for those that give a savepoint up."""
        self.error: BaseException | None = None
        """The first database error that is not undone."""
        self.refused: CoordinationError | None = None
        """The first statement or hook that was refused."""
        self.rows = 0
        self.session_touched = False
        self._savepoints: list[str] = []
        self._errors: list[tuple[BaseException, tuple[str, ...]]] = []

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        text = statements.text_of(sql)
        word = statements.first_word(text)
        if self.over and word not in ("ROLLBACK", "RELEASE"):
            raise BatchIsOver()
        if statements.ends_transaction(text, word):
            raise self.refuse(TransactionEnded(statement=" ".join(text.split())[:60]))
        if not self.session_touched and not statements.changes_rows(word):
            self.session_touched = statements.touches_session(text)
        try:
            result = execute(sql, params, many, context)
        except Error as error:
            self._errors.append((error, tuple(self._savepoints)))
            self.error = self._errors[0][0]
            raise
        if statements.changes_rows(word):
            self.rows += max(context["cursor"].rowcount, 0)
        elif found := statements.savepoint(text, word):
            self._savepoint(*found)
        return result

    def refuse(self, error: CoordinationError) -> CoordinationError:
        """Remember that ``error`` is being raised: swallowed, it must not be forgotten."""
        self.refused = self.refused or error
        return error

    def no_hooks(self, func: Any, robust: bool = False) -> None:
        """Stands in for the connection's ``on_commit``."""
        raise self.refuse(OnCommitInBranch())

    def _savepoint(self, word: str, name: str) -> None:
        if word == "SAVEPOINT":
            self._savepoints.append(name)
        elif name in self._savepoints:
            at = len(self._savepoints) - self._savepoints[::-1].index(name)
            if word == "RELEASE":
                del self._savepoints[at - 1 :]
            else:  # ROLLBACK TO: the savepoint itself lives on, and so may errors from before it was set.
                self._errors = [each for each in self._errors if name not in each[1]]
                self.error = self._errors[0][0] if self._errors else None
                del self._savepoints[at:]


class Enlisted:
    """``wrapper`` in the thread's slot of its alias, inside an open ``Atomic``."""

    def __init__(self, wrapper: BaseDatabaseWrapper) -> None:
        self.wrapper = wrapper
        self.watch = Watch()
        self._before: BaseDatabaseWrapper | None = None
        self._in_slot = False

    def enter(self) -> None:
        """Put it there. On an error the slot is as it was."""
        alias = self.wrapper.alias
        self._before = getattr(connections._connections, alias, None)  # type: ignore[attr-defined]
        connections[alias] = self.wrapper
        self._in_slot = True
        try:
            transaction.atomic(using=alias).__enter__()
        except BaseException:
            self.leave()
            raise
        self.wrapper.execute_wrappers.append(self.watch)
        self.wrapper.on_commit = self.watch.no_hooks  # type: ignore[method-assign]

    def broken(self) -> str:
        """In what state the body left the transaction that must not be prepared; empty for none."""
        wrapper = self.wrapper
        if wrapper.closed_in_transaction or wrapper.connection is None:
            return "the task closed its database connection, which undid its work"
        if wrapper.savepoint_ids:
            return "the task left an atomic() block open"
        if not wrapper.in_atomic_block or wrapper.get_autocommit():
            return "the task ended the transaction itself"
        if wrapper.needs_rollback:
            return "an atomic() block of the task failed and was not undone by a savepoint"
        return ""

    def disarm(self) -> None:
        """Make the connection forget the ``Atomic`` without committing: the transaction is ours to end."""
        wrapper = self.wrapper
        wrapper.execute_wrappers.clear()
        wrapper.__dict__.pop("on_commit", None)
        wrapper.run_on_commit = []
        wrapper.atomic_blocks.clear()
        wrapper.savepoint_ids.clear()
        wrapper.in_atomic_block = wrapper.needs_rollback = wrapper.closed_in_transaction = False

    def leave(self) -> None:
        """Give the slot back. Does nothing the second time."""
        if not self._in_slot:
            return
        self._in_slot = False
        if self._before is None:
            del connections[self.wrapper.alias]
        else:
            connections[self.wrapper.alias] = self._before
