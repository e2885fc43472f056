"""Databases that cannot prepare, or are not to: the transaction is kept open, and its process is the promise.

What was voted for is *parked*: its connection stays open with the transaction, out of every thread's slots, until this
process commits it or rolls it back. Nobody else can; if the process dies, the database rolls it back. Any process can
find out what became of it, by its marker (:mod:`.marker`).
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db import DatabaseError, Error
from django.db.backends.base.base import BaseDatabaseWrapper

from coordination import conf, crashpoints
from coordination.crashpoints import Point
from coordination.protocol import gid as gids
from coordination.protocol.attempt import Fate
from coordination.protocol.holdings import Found
from coordination.protocol.states import Decision, Guarantee, Kind, Outcome

from . import marker
from .base import CannotBegin, Finished, ResourceError
from .held_engines import engine_of
from .held_work import HeldWork
from .kept import KeptConnections

PROOF_SECONDS = 1.0
"""How long a look for the fate of a transaction waits for whoever may still hold it open."""
COMMIT_SECONDS = 5.0
"""How long a COMMIT waits for readers, where they stand in its way, before it is tried again later."""
REPLACED = "the file of its database was removed or replaced"

T = TypeVar("T")


@dataclass(kw_only=True)
class _Parked:
    """A connection with an open transaction that was voted for. ``lock``: whoever uses it; ``broken``: it is lost."""

    wrapper: BaseDatabaseWrapper
    clean: bool
    identity: object
    since: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)
    broken: str = ""


class HeldResource:
    """One database, as seen from one process, which holds what it promises itself."""

    kind = Kind.HELD
    guarantee = Guarantee.PROCESS_BOUND

    def __init__(self, alias: str, *, installation: str) -> None:
        self.alias = alias
        self.engine = engine_of(alias)
        self._kept = KeptConnections(alias, self.engine.settings)
        self._installation = installation
        self._known: WeakKeyDictionary[BaseDatabaseWrapper, tuple[object, str]] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._parked: dict[str, _Parked] = {}

    # --- one execution of a branch ------------------------------------------------------------------------------

    def begin(self, *, gid: str, batch: UUID, branch: int, ask: bool, lock_timeout: float) -> HeldWork:
        """As :meth:`Resource.begin`. The database's one writer, if it has one, is this execution from here on."""

        def open_on(wrapper: BaseDatabaseWrapper, database: str) -> HeldWork:
            work = HeldWork(self, wrapper, gid, database=database)
            work.found = self.prepared_of(batch, branch) if ask else ()
            if work.found:
                return work  # It has nothing to do, and would wait for the one that was found.
            try:
                work.open(lock_timeout=lock_timeout)
            except DatabaseError as error:
                if self.engine.is_locked(error):
                    raise CannotBegin(
                        f"database {self.alias!r} takes one writer at a time, and somebody else was that for "
                        f"{lock_timeout:.0f} s ({error}): another program, or a batch of another installation"
                    ) from error
                raise
            return work

        return self._on_a_connection(open_on, keep=True)

    def prepared_of(self, batch: UUID, branch: int) -> Sequence[Found]:
        """As :meth:`Resource.prepared_of`: those parked in this process. Of others' nobody can vote for them."""
        prefix = gids.branch_prefix(installation=self._installation, batch=batch, branch=branch)
        with self._lock:
            ours = [(gid, parked) for gid, parked in self._parked.items() if gid.startswith(prefix)]
        now = time.monotonic()
        return [
            Found(gid=gid, age=now - p.since, alias=self.alias, kind=Kind.HELD, proof=self._known[p.wrapper][1])
            for gid, p in ours
        ]

    def seen_by_a_stranger(self, gid: str) -> bool:
        """Whether another connection sees what ``gid``'s transaction wrote: it was committed. Raises ResourceError."""
        if not self.engine.asks_a_stranger:
            return False
        return self._on_a_connection(lambda wrapper, _: marker.is_there(wrapper, gid))

    def park(self, gid: str, wrapper: BaseDatabaseWrapper, *, clean: bool) -> str:
        """Keep the connection with its open transaction; why not, if there is no room for it.

        ``clean``: it may be used for other work afterwards.
        """
        most = conf.max_held()
        parked = _Parked(wrapper=wrapper, clean=clean, identity=self.engine.identity(wrapper))
        with self._lock:
            if len(self._parked) >= most:
                return (
                    f"its worker process already holds {most} connections to database {self.alias!r} for tasks that "
                    "wait for their decision: start more workers, raise COORDINATION_MAX_HELD, or make smaller batches"
                )
            self._parked[gid] = parked
        return ""

    # --- what is parked -----------------------------------------------------------------------------------------

    def look(self, gid: str) -> str:
        """Why ``gid`` is not held here any more; empty if it is: its connection was asked just now."""
        with self._lock:
            parked = self._parked.get(gid)
        if parked is None:
            return "this process does not hold it"
        with parked.lock:
            if parked.broken:
                return parked.broken
            if self.engine.identity(parked.wrapper) != parked.identity:
                parked.broken = REPLACED
                return parked.broken
            try:
                there = marker.is_there(parked.wrapper, gid)
                parked.broken = "" if there else "its transaction was ended by somebody else"
            except (Error, OSError) as error:
                parked.broken = f"its database connection was lost: {_words(error)}"
            return parked.broken

    def take(self, gid: str) -> Callable[[], None] | None:
        """Hold ``gid`` no more, from this moment on. Returns what rolls it back, which may take a while."""
        with self._lock:
            parked = self._parked.pop(gid, None)
        if parked is None:
            return None

        def close() -> None:
            with parked.lock:
                self._roll_back_parked(parked)

        return close

    # --- the end ------------------------------------------------------------------------------------------------

    def look_up(self, gid: str, proof: str | None) -> Fate:
        """As :meth:`Resource.look_up`; of this process's own executions."""
        with self._lock:
            return Fate.PREPARED if gid in self._parked else Fate.UNDONE

    def finish(self, gid: str, outcome: Decision, proof: str | None) -> Finished:
        """As :meth:`Resource.finish`. What this process does not hold it only looks up: its holder alone can end it."""
        with self._lock:
            parked = self._parked.pop(gid, None)
        if parked is None:
            return self._proved(gid, proof)
        crashpoints.reach(Point.FINISHING_HELD)
        with parked.lock:
            if outcome is Decision.ROLLBACK:  # Nobody has sent COMMIT, and nobody will: that needs no answer.
                self._roll_back_parked(parked)
                return Finished(outcome=Outcome.ROLLED_BACK, how="ROLLBACK by the process that held it")
            try:
                self._commit(parked)
            except (Error, OSError) as error:
                if self.engine.is_open(parked.wrapper):
                    with self._lock:
                        self._parked[gid] = parked
                    return Finished(outcome=Outcome.UNKNOWN, how=f"COMMIT will be tried again: {_words(error)}")
                self._kept.drop(parked.wrapper)
                return self._proved(gid, proof)
            self.give_back(parked.wrapper, keep=parked.clean)
        return Finished(outcome=Outcome.COMMITTED, how="COMMIT by the process that held it")

    def _roll_back_parked(self, parked: _Parked) -> None:
        keep = not parked.broken and self.roll_back(parked.wrapper) and parked.clean
        self.give_back(parked.wrapper, keep=keep)

    def _commit(self, parked: _Parked) -> None:
        wrapper = parked.wrapper
        if parked.broken or self.engine.identity(wrapper) != parked.identity:
            self._kept.drop(wrapper)
            raise Error(parked.broken or REPLACED)
        self.engine.limit_waits(wrapper, COMMIT_SECONDS, local=True)
        self.engine.stands(wrapper)
        with wrapper.wrap_database_errors:
            raw: Any = wrapper.connection
            raw.commit()

    def _proved(self, gid: str, proof: str | None) -> Finished:
        """What the marker says."""

        def settle(wrapper: BaseDatabaseWrapper, database: str) -> Finished:
            if not proof or database != proof:
                words = f"this worker's database {self.alias!r} is not the one that {gid} was written to"
                return Finished(outcome=Outcome.UNKNOWN, how=words)
            self.engine.limit_waits(wrapper, PROOF_SECONDS, local=False)
            outcome, how = marker.settle(wrapper, gid)
            return Finished(outcome=outcome, how=how)

        try:
            return self._on_a_connection(settle)
        except (Error, ResourceError) as error:
            return Finished(outcome=Outcome.UNKNOWN, how=_words(error))

    # --- lists: another process's promises are not to be seen -----------------------------------------------------

    def recover(self) -> Sequence[Found]:
        """As :meth:`Resource.recover`: nothing that outlives its process."""
        return ()

    def sweep(self) -> Sequence[Found]:
        """As :meth:`Resource.sweep`."""
        return ()

    # --- connections --------------------------------------------------------------------------------------------

    def roll_back(self, wrapper: BaseDatabaseWrapper) -> bool:
        """Undo what is open; whether the connection can be used again."""
        raw: Any = wrapper.connection
        try:
            with wrapper.wrap_database_errors:
                self.engine.ended(wrapper)
                raw.rollback()
        except Exception:  # The server undoes it when the connection is dropped.
            return False
        return True

    def give_back(self, wrapper: BaseDatabaseWrapper, *, keep: bool) -> None:
        """A connection whose transaction has ended."""
        if keep:
            with contextlib.suppress(Error):
                wrapper.set_autocommit(True)
                self._kept.give_back(wrapper)
                return
        self._kept.drop(wrapper)

    def close_idle(self, seconds: float) -> None:
        """As :meth:`Resource.close_idle`."""
        self._kept.close_idle(seconds)

    def close(self) -> None:
        """As :meth:`Resource.close`. What is still parked is rolled back."""
        with self._lock:
            left = list(self._parked)
        for gid in left:
            if close := self.take(gid):
                close()
        self._kept.close_idle()

    def _on_a_connection(self, use: Callable[[BaseDatabaseWrapper, str], T], *, keep: bool = False) -> T:
        """``use(connection, name of its database)``, once more on a fresh one if a kept one had died.

        ``keep``: ``use`` gives it back itself, unless it raises. Raises ResourceError, CannotBegin.
        """
        for fresh in (False, True):
            wrapper = self._kept.take(fresh=fresh)
            try:
                result = use(wrapper, self._database_of(wrapper))
            except (Error, OSError) as error:
                self._kept.drop(wrapper)
                if fresh:
                    raise ResourceError(f"Database {self.alias!r} cannot be used: {_words(error)}") from error
                self._kept.close_idle()
                continue
            except BaseException:
                self._kept.drop(wrapper)
                raise
            if not keep:
                self._kept.give_back(wrapper)
            return result
        raise AssertionError("the second connection is fresh")

    def _database_of(self, wrapper: BaseDatabaseWrapper) -> str:
        """The name of the database behind ``wrapper``, asked once a connection. Raises ResourceError, Error."""
        identity = self.engine.identity(wrapper)
        known = self._known.get(wrapper)
        if known is None:
            known = self._known[wrapper] = identity, marker.database_of(wrapper)
        elif known[0] != identity:
            raise Error(REPLACED)
        return known[1]


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())
