"""PostgreSQL: ``PREPARE TRANSACTION`` and what is needed around it.

A prepared transaction is finished from any process, by the same role in the same database. Its fate is proved by its
transaction id: when the gid does not exist any more, ``pg_xact_status`` still tells a lost reply from a rollback by
somebody else. The proof names the cluster as well, because on another one the same number means another transaction.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db.backends.base.base import BaseDatabaseWrapper

from coordination.protocol import gid as gids
from coordination.protocol.attempt import Fate
from coordination.protocol.holdings import Found
from coordination.protocol.states import Decision, Guarantee, Kind, Outcome

from . import pq
from .base import Finished, ResourceError
from .kept import KeptConnections
from .postgresql_locks import LockWatch
from .postgresql_work import PostgreSQLWork

NO_SUCH_GID = "42704"
BUSY = "55000"
BUSY_PAUSES = (0.02, 0.1, 0.3)
"""Seconds between attempts at a gid that another session is finishing at this moment."""
LOOK_UP_SECONDS = 3.0
"""How long a look-up waits for a PREPARE whose session may still be at work."""

TRY_SWEEP_SECONDS = 10.0
"""About how often a process that does not sweep looks whether nobody else does."""

SWEEP_LOCK = 0x63635F73
"""First half of the advisory lock of the sweep; the second is the installation."""

T = TypeVar("T")


class PostgreSQLResource:
    """One PostgreSQL database, as seen from one process."""

    kind = Kind.TWO_PHASE
    guarantee = Guarantee.CRASH_SAFE

    def __init__(self, alias: str, *, installation: str) -> None:
        self.alias = alias
        self.kept = KeptConnections(alias)
        self.locks = LockWatch(self.kept)
        self._installation = installation
        self._clusters: WeakKeyDictionary[BaseDatabaseWrapper, str] = WeakKeyDictionary()
        self._sweeping: BaseDatabaseWrapper | None = None
        self._try_sweep_at = 0.0
        self._sweep_lock = threading.Lock()

    # --- one execution of a branch ------------------------------------------------------------------------------

    def begin(self, *, gid: str, batch: UUID, branch: int, ask: bool, lock_timeout: float) -> PostgreSQLWork:
        """As :meth:`Resource.begin`. One round trip, also with ``ask``."""
        look = self._listing(gids.branch_prefix(installation=self._installation, batch=batch, branch=branch))

        def open_on(wrapper: BaseDatabaseWrapper) -> PostgreSQLWork:
            work = PostgreSQLWork(self, wrapper, gid, cluster=self.cluster(wrapper))
            rows = work.open(lock_timeout=lock_timeout, question=look if ask else "")
            work.found = self._found(wrapper, rows)
            return work

        try:
            return self._on_a_connection(open_on, keep=True)
        except pq.Said as error:
            raise ResourceError(f"Database {self.alias!r} refuses to begin: {error.words}") from error

    def prepared_of(self, batch: UUID, branch: int) -> Sequence[Found]:
        """As :meth:`Resource.prepared_of`."""
        return self._list(gids.branch_prefix(installation=self._installation, batch=batch, branch=branch))

    # --- the end of a prepared transaction ----------------------------------------------------------------------

    def look_up(self, gid: str, proof: str | None) -> Fate:
        """As :meth:`Resource.look_up`; waits up to 3 s for a session that is still at work on it."""
        parts = gids.parse(gid)
        until = time.monotonic() + LOOK_UP_SECONDS
        while parts is not None:
            try:
                if any(f.gid == gid for f in self.prepared_of(parts.batch, parts.branch)):
                    return Fate.PREPARED
                status = self._status(proof)
            except (ResourceError, pq.Said):
                status = "in progress"  # It may be back in a moment.
            if status == "aborted":
                return Fate.UNDONE
            if status == "committed":
                return Fate.PREPARED  # And finished already: whoever did that had seen it.
            if status is None or time.monotonic() > until:
                break
            time.sleep(0.2)
        return Fate.UNKNOWN

    def finish(self, gid: str, outcome: Decision, proof: str | None) -> Finished:
        """As :meth:`Resource.finish`; tries again for 0.4 s while another session is at it."""
        commit = outcome is Decision.COMMIT
        statement = f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED {pq.quoted(gid)}"
        for pause in (*BUSY_PAUSES, None):
            try:
                self._ask(statement)
            except pq.Said as error:
                if error.sqlstate == NO_SUCH_GID:
                    return self._absent(proof)
                if error.sqlstate == BUSY and pause is not None:
                    time.sleep(pause)
                    continue
                return Finished(outcome=Outcome.UNKNOWN, how=f"{self.alias}: {error.words}")
            except ResourceError as error:
                return Finished(outcome=Outcome.UNKNOWN, how=str(error))
            return Finished(
                outcome=Outcome.COMMITTED if commit else Outcome.ROLLED_BACK, how=statement.partition(" '")[0]
            )
        raise AssertionError("the last pause is None")

    def _absent(self, proof: str | None) -> Finished:
        """The gid does not exist: finished before, by us or by somebody else. Only the proof tells which way."""
        try:
            status = self._status(proof)
        except (ResourceError, pq.Said) as error:
            status, why = None, f": {error}"
        else:
            why = ""
        if status == "committed":
            return Finished(outcome=Outcome.COMMITTED, how="Found committed, by its transaction id")
        if status == "aborted":
            return Finished(outcome=Outcome.ROLLED_BACK, how="Found rolled back, by its transaction id")
        return Finished(
            outcome=Outcome.UNKNOWN, how=f"{self.alias} has no such prepared transaction and no proof of its end{why}"
        )

    def _status(self, proof: str | None) -> str | None:
        """What the server says of a transaction id; None if it cannot know. Raises ResourceError, pq.Said."""
        xid, _, cluster = (proof or "").partition("@")
        if not xid.isdigit():
            return None

        def ask(wrapper: BaseDatabaseWrapper) -> str | None:
            if cluster != self.cluster(wrapper):
                return None
            return pq.rows(pq.ask(wrapper, f"SELECT pg_xact_status('{xid}')"))[0][0]

        return self._on_a_connection(ask)

    # --- lists --------------------------------------------------------------------------------------------------

    def recover(self) -> Sequence[Found]:
        """As :meth:`Resource.recover`."""
        return self._list(gids.installation_prefix(self._installation))

    def sweep(self) -> Sequence[Found]:
        """As :meth:`Resource.sweep`. The lock is the session's, so it goes with the process, however that ends."""
        with self._sweep_lock:
            if self._sweeping is None:
                if time.monotonic() < self._try_sweep_at:
                    return ()
                self._try_sweep_at = time.monotonic() + TRY_SWEEP_SECONDS * random.uniform(0.8, 1.2)
                try:
                    self._sweeping = self._on_a_connection(self._lock_sweep, keep=True)
                except pq.Said as error:
                    raise ResourceError(f"Database {self.alias!r} cannot be swept: {error.words}") from error
                if self._sweeping is None:
                    return ()
            try:
                rows = pq.rows(pq.ask(self._sweeping, self._listing(gids.installation_prefix(self._installation))))
                return self._found(self._sweeping, rows)
            except (pq.Said, pq.Lost) as error:
                self.kept.drop(self._sweeping)
                self._sweeping = None
                raise ResourceError(f"Database {self.alias!r} cannot be swept: {error}") from error

    def _lock_sweep(self, wrapper: BaseDatabaseWrapper) -> BaseDatabaseWrapper | None:
        key = int.from_bytes(bytes.fromhex(self._installation), "big", signed=True)
        got = pq.rows(pq.ask(wrapper, f"SELECT pg_try_advisory_lock({SWEEP_LOCK}, {key})"))[0][0]
        if got == "t":
            return wrapper
        self.kept.drop(wrapper)  # Kept, it would be taken for used at each try, and never be closed.
        return None

    def _list(self, prefix: str) -> Sequence[Found]:
        def ask(wrapper: BaseDatabaseWrapper) -> Sequence[Found]:
            return self._found(wrapper, pq.rows(pq.ask(wrapper, self._listing(prefix))))

        try:
            return self._on_a_connection(ask)
        except pq.Said as error:
            raise ResourceError(f"Database {self.alias!r} cannot list what is prepared: {error.words}") from error

    @staticmethod
    def _listing(prefix: str) -> str:
        # Not the view pg_prepared_xacts, which joins two catalogs to show names. And the snapshot is asked for once:
        # for each row it would be sorted anew, with as many ids in it as there are rows.
        return (
            "SELECT gid, extract(epoch FROM clock_timestamp() - prepared), transaction::text,"
            " (SELECT pg_snapshot_xmax(pg_current_snapshot()))::text FROM pg_prepared_xact()"
            " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            f" AND starts_with(gid, {pq.quoted(prefix)})"
        )

    def _found(self, wrapper: BaseDatabaseWrapper, rows: Sequence[tuple[Any, ...]]) -> Sequence[Found]:
        return [
            Found(
                gid=gid, age=max(float(age), 0.0), alias=self.alias,
                proof=proof_of(str(widened(int(xid), near=int(xmax))), self.cluster(wrapper)),
            )
            for gid, age, xid, xmax in rows
        ]  # fmt: skip

    # --- connections --------------------------------------------------------------------------------------------

    def cluster(self, wrapper: BaseDatabaseWrapper) -> str:
        """Which cluster ``wrapper`` is connected to, asked once a connection; empty if it may not be asked."""
        known = self._clusters.get(wrapper)
        if known is None:
            try:
                known = pq.rows(pq.ask(wrapper, "SELECT system_identifier::text FROM pg_control_system()"))[0][0] or ""
            except pq.Said:
                known = ""
            self._clusters[wrapper] = known
        return known

    def _ask(self, statement: str) -> Any:
        return self._on_a_connection(lambda wrapper: pq.ask(wrapper, statement))

    def _on_a_connection(self, use: Callable[[BaseDatabaseWrapper], T], *, keep: bool = False) -> T:
        """``use`` a kept connection, and a fresh one if that one had died. ``keep``: ``use`` gives it back itself.

        Raises ResourceError when the fresh one is lost too, and whatever ``use`` raises.
        """
        wrapper = self.kept.take()
        try:
            try:
                result = use(wrapper)
            except pq.Lost:
                self.kept.drop(wrapper)
                self.kept.close_idle()  # They died together: a restart, or a cut.
                wrapper = self.kept.take(fresh=True)
                result = use(wrapper)
        except pq.Lost as error:
            self.kept.drop(wrapper)
            raise ResourceError(f"Database {self.alias!r} was lost: {error}") from error
        except BaseException:
            if pq.idle(wrapper):
                self.kept.give_back(wrapper)
            else:
                self.kept.drop(wrapper)
            raise
        if not keep:
            self.kept.give_back(wrapper)
        return result

    def close_idle(self, seconds: float) -> None:
        """As :meth:`Resource.close_idle`."""
        self.kept.close_idle(seconds)

    def close(self) -> None:
        """As :meth:`Resource.close`."""
        self.locks.stop()
        with self._sweep_lock:
            if self._sweeping is not None:
                self.kept.drop(self._sweeping)
                self._sweeping = None
        self.kept.close_idle()


def widened(xid: int, *, near: int) -> int:
    """The 64-bit transaction id whose low half is ``xid`` and which is less than 2^31 away from ``near``.

    A prepared transaction's id may lie on either side of the snapshot's xmax, never further off than that.
    """
    return near + ((xid - near + 2**31) % 2**32 - 2**31)


def proof_of(xid: str, cluster: str) -> str:
    """What tells the fate of a transaction later: its 64-bit id and the cluster it belongs to."""
    return f"{xid}@{cluster}"
