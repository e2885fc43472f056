"""Connections of our own: never in Django's slots between uses, so that nothing of Django's or Celery's closes them.

Celery's Django fixup closes the connections of a worker around each task, which costs 5 to 8 ms a task. These are
kept, handed from thread to thread, used by one at a time, and closed when nobody has used them for a while.
"""

import contextlib
import copy
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from .base import ResourceError

CONNECT_SECONDS = 5


class KeptConnections:
    """Open connections to one alias, those last used first."""

    def __init__(self, alias: str, change: Callable[[dict[str, Any]], None] | None = None) -> None:
        """``change`` is given the settings of each connection before it is made, to change them."""
        self.alias = alias
        self._change = change
        self._lock = threading.Lock()
        self._idle: list[tuple[float, BaseDatabaseWrapper]] = []

    def take(self, *, fresh: bool = False) -> BaseDatabaseWrapper:
        """A connection for the caller alone, in autocommit; ``fresh``: a new one. Raises ResourceError.

        One that was kept may have died meanwhile, which its first statement tells: :meth:`drop` it, take a fresh one.
        """
        with self._lock:
            if self._idle and not fresh:
                return self._idle.pop()[1]
        wrapper = self._new()
        try:
            with wrapper.wrap_database_errors:
                wrapper.connect()
        except (DatabaseError, InterfaceError, OSError) as error:
            self.drop(wrapper)
            raise ResourceError(f"Database {self.alias!r} cannot be reached: {str(error).strip()}") from error
        return wrapper

    def give_back(self, wrapper: BaseDatabaseWrapper) -> None:
        """Keep it for the next; it must be in autocommit, with no transaction open."""
        with self._lock:
            self._idle.append((time.monotonic(), wrapper))

    def drop(self, wrapper: BaseDatabaseWrapper) -> None:
        """Close it, whatever state it is in; the server undoes what was open."""
        raw, wrapper.connection = wrapper.connection, None
        if raw is not None:
            with contextlib.suppress(Exception):
                raw.close()

    def close_idle(self, seconds: float = 0) -> None:
        """Close those that were not used for so long."""
        limit = time.monotonic() - seconds
        with self._lock:
            old = [wrapper for used, wrapper in self._idle if used <= limit]
            self._idle = [(used, wrapper) for used, wrapper in self._idle if used > limit]
        for wrapper in old:
            self.drop(wrapper)

    def _new(self) -> BaseDatabaseWrapper:
        settings: dict[str, Any] = copy.deepcopy(connections.settings[self.alias])
        options = settings["OPTIONS"]
        options.pop("pool", None)
        if settings["ENGINE"].endswith("postgresql"):
            # A server that has gone silent must not hold a thread for the two hours TCP allows by default.
            options.setdefault("connect_timeout", CONNECT_SECONDS)
            options.setdefault("keepalives_idle", 10)
            options.setdefault("tcp_user_timeout", 20_000)
        settings.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=False, AUTOCOMMIT=True, ATOMIC_REQUESTS=False)
        if self._change is not None:
            self._change(settings)
        wrapper: BaseDatabaseWrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, self.alias)
        wrapper.inc_thread_sharing()
        return wrapper
