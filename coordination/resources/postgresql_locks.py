"""Who holds the lock a branch waits for: looked at while it waits, because afterwards the server cannot tell any more.

What a prepared branch has locked stays locked until the decision, which waits for its siblings, and no deadlock
detector sees that. The lock timeout ends it, and its vote names the holder.
"""

import contextlib
import threading
import time

from coordination.protocol import gid as gids

from . import pq
from .base import ResourceError
from .kept import KeptConnections

LOOKS = 4
"""Looks within one lock timeout."""
SLOWEST, FASTEST = 5.0, 0.1
"""Bounds of the seconds between two looks."""
THREAD_SECONDS = 60.0
"""How long the thread outlives the last branch."""
RULE = (
    "Tasks of one batch must not touch the same rows, unique keys or table locks: "
    "what one has prepared stays locked until all of them have voted"
)

_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid IN ({pids})"
"""Cheap, and mostly the end of it: a slow body is rarely one that waits for a lock."""

# A prepared transaction's locks have no pid, and the virtual transaction of the session that prepared it (or -1/xid
# after a restart): which one it is tells the lock on its own id.
_HOLDERS = """
SELECT w.pid, coalesce(p.gid, ''), coalesce(a.pid::text, ''), coalesce(a.application_name, '')
  FROM pg_locks w
  JOIN pg_locks h ON h.granted AND h.pid IS DISTINCT FROM w.pid AND h.locktype = w.locktype
   AND (h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid, h.classid, h.objid, h.objsubid)
       IS NOT DISTINCT FROM
       (w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid, w.classid, w.objid, w.objsubid)
  LEFT JOIN pg_locks x ON h.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
   AND x.virtualtransaction = h.virtualtransaction
  LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
  LEFT JOIN pg_stat_activity a ON a.pid = h.pid
 WHERE NOT w.granted AND w.pid IN ({pids}) ORDER BY p.gid NULLS LAST"""


class LockWatch:
    """Watches the open branches of one alias, from a thread that is hardly ever woken: most end before it looks."""

    def __init__(self, kept: KeptConnections) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._every = SLOWEST
        self._watched: dict[int, tuple[float, float]] = {}
        self._holders: dict[int, tuple[str, str]] = {}
        self._thread: threading.Thread | None = None

    def watch(self, pid: int, lock_timeout: float) -> None:
        """The session ``pid`` has begun a branch."""
        every = min(max(lock_timeout / LOOKS, FASTEST), SLOWEST)
        with self._lock:
            self._watched[pid] = time.monotonic(), every
            if every < self._every:
                self._every = every
                self._wake.set()
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="coordination-locks", daemon=True)
                self._thread.start()

    def forget(self, pid: int) -> None:
        """Its branch is over."""
        with self._lock:
            self._watched.pop(pid, None)
            self._holders.pop(pid, None)

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()

    def holder(self, pid: int, gid: str) -> str:
        """Who held the lock that session ``pid``, in the branch ``gid``, has waited for in vain; and the rule."""
        with self._lock:
            seen = self._holders.get(pid)
        if seen is None:
            return RULE
        other, session = seen
        parts, mine = gids.parse(other), gids.parse(gid)
        if parts is not None and mine is not None and parts.batch == mine.batch:
            return f"The lock is held by task {parts.branch} of the same batch, which is prepared. {RULE}"
        if parts is not None:
            return f"The lock is held by task {parts.branch} of batch {parts.batch}, until that is decided. {RULE}"
        if other:
            return f"The lock is held by the prepared transaction {other!r}, which is not ours. {RULE}"
        return f"The lock is held by the database session {session}. {RULE}"

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stopped:
            self._wake.wait(self._every)
            self._wake.clear()
            now = time.monotonic()
            with self._lock:
                if self._watched:
                    last = now
                    self._every = min(every for _, every in self._watched.values())
                elif now - last > THREAD_SECONDS:
                    self._thread = None
                    return
                slow = [pid for pid, (since, every) in self._watched.items() if now - since >= every * 0.9]
            if slow:
                with contextlib.suppress(ResourceError, pq.Said):
                    self._look(slow)

    def _look(self, pids: list[int]) -> None:
        wrapper = self._kept.take()
        try:
            rows = pq.rows(pq.ask(wrapper, _WAITING.format(pids=", ".join(map(str, pids)))))
            if rows:
                waiting = ", ".join(str(row[0]) for row in rows)
                rows = pq.rows(pq.ask(wrapper, _HOLDERS.format(pids=waiting)))
        except pq.Lost:
            self._kept.drop(wrapper)
            return
        except pq.Said:
            self._kept.give_back(wrapper)
            raise
        self._kept.give_back(wrapper)
        with self._lock:
            for pid, gid, session, application in reversed(rows):
                # Kept until the branch ends: the look after this one may come when the wait is already over.
                if pid is not None and int(pid) in self._watched:
                    name = f"{session} ({application})" if application else f"{session}"
                    self._holders[int(pid)] = gid or "", name
