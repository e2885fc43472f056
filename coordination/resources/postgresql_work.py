"""The PostgreSQL side of one execution of a branch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper

from coordination.protocol.attempt import Prepared
from coordination.protocol.holdings import Found
from coordination.protocol.messages import MAX_REASON, Failure, cut

from . import pq
from .body import LEAKED, Body
from .enlisted import Enlisted

if TYPE_CHECKING:
    from .postgresql import PostgreSQLResource

LOCK_TIMEOUT = "55P03"
MARK = "coordination.branch"
"""A setting local to the transaction: whatever ends the transaction behind our back takes it along."""
INTERRUPT_SECONDS = 3.0
"""How long asking the server to cancel a statement may take."""


class PostgreSQLWork:
    """An open transaction behind the alias, until it is prepared or undone."""

    def __init__(self, resource: "PostgreSQLResource", wrapper: BaseDatabaseWrapper, gid: str, *, cluster: str) -> None:
        self.found: Sequence[Found] = ()
        self.proof: str | None = None
        self._resource = resource
        self._wrapper = wrapper
        self._enlisted = Enlisted(wrapper)
        self._body = Body(self._enlisted)
        self._gid = gid
        self._cluster = cluster
        self._pid = 0
        self._lost = False

    @property
    def rows(self) -> int:
        """As :attr:`Work.rows`."""
        return self._enlisted.watch.rows

    def open(self, *, lock_timeout: float, question: str) -> Sequence[tuple[str | None, ...]]:
        """Begin, in one round trip, and ask ``question`` if there is one. Raises pq.Lost, pq.Said."""
        raw: Any = self._wrapper.connection
        level = raw.isolation_level
        begin = "BEGIN" + (f" ISOLATION LEVEL {level.name.replace('_', ' ')}" if level is not None else "")
        marks = (
            f"SELECT set_config('{MARK}', {pq.quoted(self._gid)}, true),"
            f" set_config('lock_timeout', '{max(1, round(lock_timeout * 1000))}', true)"
        )
        self._enlisted.enter()
        try:
            result = pq.ask(self._wrapper, f"{begin}; {marks}; {question}" if question else f"{begin}; {marks}")
        except BaseException:
            self._enlisted.leave()
            raise
        self._pid = raw.pgconn.backend_pid
        self._resource.locks.watch(self._pid, lock_timeout)
        return pq.rows(result) if question else ()

    def interrupt(self) -> bool:
        """As :meth:`Work.interrupt`."""
        return self._body.interrupt(self._cancel)

    def _cancel(self) -> None:
        raw: Any = self._wrapper.connection
        raw.cancel_safe(timeout=INTERRUPT_SECONDS)

    def problem(self) -> Failure | None:
        """As :meth:`Work.problem`. One round trip."""
        if problem := self._body.problem(self.explain):
            return problem
        try:
            question = f"SELECT current_setting('{MARK}', true), pg_current_xact_id_if_assigned()::text"
            mark, xid = pq.rows(pq.ask(self._wrapper, question))[0]
        except (pq.Lost, pq.Said) as error:
            aborted = isinstance(error, pq.Said) and error.sqlstate == "25P02"
            words = "the task swallowed a database error, which aborted its transaction" if aborted else str(error)
            return Failure(type="", message=words)
        if mark != self._gid:
            return Failure(type="TransactionEnded", message=LEAKED)
        self.proof = f"{xid}@{self._cluster}" if xid is not None else None
        return None

    def explain(self, error: BaseException) -> str:
        """As :meth:`Work.explain`: who held the lock that was waited for."""
        state = _sqlstate(error)
        if state == LOCK_TIMEOUT:
            return self._resource.locks.holder(self._pid, self._gid)
        return ""

    def wrote(self) -> bool:
        """As :meth:`Work.wrote`: a transaction without an id has changed nothing."""
        return self.proof is not None

    def prepare(self) -> tuple[Prepared, Failure | None]:
        """As :meth:`Work.prepare`."""
        self._body.end()
        self._enlisted.disarm()
        try:
            result = pq.ask(self._wrapper, f"PREPARE TRANSACTION {pq.quoted(self._gid)}")
        except pq.Said as error:
            return Prepared.REFUSED, Failure(type="PrepareRefused", message=cut(error.words, MAX_REASON))
        except BaseException as error:  # Whatever cut it short, the server may have done it.
            self._lost = True
            if not isinstance(error, Exception):
                raise
            words = f"the connection was lost at PREPARE: {error}"
            return Prepared.UNKNOWN, Failure(type="ConnectionLost", message=cut(words, MAX_REASON))
        if result.command_status != b"PREPARE TRANSACTION":
            # An aborted transaction is not refused: the server answers ROLLBACK, without any error.
            words = "its transaction was aborted, and the server rolled it back at PREPARE"
            return Prepared.REFUSED, Failure(type="PrepareRefused", message=words)
        return Prepared.DONE, None

    def undo(self) -> None:
        """As :meth:`Work.undo`."""
        self._body.end()
        self._enlisted.disarm()
        if not self._lost and not pq.idle(self._wrapper):
            try:
                pq.ask(self._wrapper, "ROLLBACK")
            except (pq.Lost, pq.Said):
                self._lost = True

    def release(self) -> None:
        """As :meth:`Work.release`.

        The connection is kept, unless the body left something in its session, or the server was asked to cancel: if
        that got no answer it may come yet, and must not hit the next task.
        """
        self._resource.locks.forget(self._pid)
        self._enlisted.leave()
        if self._lost or self._body.interrupted or self._enlisted.watch.session_touched or not pq.idle(self._wrapper):
            self._resource.kept.drop(self._wrapper)
            return
        self._wrapper.set_autocommit(True)
        self._resource.kept.give_back(self._wrapper)


def _sqlstate(error: BaseException) -> str:
    """The server's code of a database error, Django's or psycopg's."""
    return str(getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or "")
