"""Finds prepared transactions nobody speaks for, and has them voted for.

One agent at a time for each database. It never finishes anything itself: the journal answers its votes.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from coordination.conf import IDLE_SECONDS
from coordination.protocol.holdings import Found
from coordination.resources.base import Resource, ResourceError

logger = logging.getLogger(__name__)


class Sweep:
    """Looks at each alias every so often, each in a thread of its own: a database that hangs holds up itself only."""

    def __init__(
        self,
        aliases: Sequence[str],
        resource_of: Callable[[str], Resource],
        on_found: Callable[[str, Sequence[Found]], None],
        *,
        every: float,
    ) -> None:
        """``on_found(alias, found)`` is told of each look; ``every`` is in seconds."""
        self._aliases = aliases
        self._resource_of = resource_of
        self._on_found = on_found
        self._every = every
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._looking: set[str] = set()
        self._failing: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="coordination-sweep", daemon=True)

    def start(self) -> None:
        """Start sweeping."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more; a look under way ends by itself."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            for alias in self._aliases:
                with self._lock:
                    if alias in self._looking:
                        continue
                    self._looking.add(alias)
                threading.Thread(
                    target=self._look, args=(alias,), name=f"coordination-sweep-{alias}", daemon=True
                ).start()

    def _look(self, alias: str) -> None:
        try:
            resource = self._resource_of(alias)
            resource.close_idle(IDLE_SECONDS)
            found = resource.sweep()
            if not self._stopped.is_set():
                self._on_found(alias, found)
            if alias in self._failing:
                self._failing.discard(alias)
                logger.info("Database %s can be swept again.", alias)
        except ResourceError as error:
            if alias not in self._failing:
                self._failing.add(alias)
                logger.warning("Prepared transactions cannot be looked for: %s", error)
        except Exception:
            logger.exception("Database %s cannot be swept.", alias)
        finally:
            with self._lock:
                self._looking.discard(alias)
