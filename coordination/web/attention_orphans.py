"""Prepared transactions of this installation that no open batch accounts for, looked for while somebody asks.

Agents finish them by the journal; what is still there after a while says that no worker can reach its database, or
that an account may not finish it. Each database is looked at in a thread of its own, so that none holds a page up.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from coordination import conf
from coordination.models import Batch
from coordination.protocol import gid as gids
from coordination.protocol.holdings import Found
from coordination.resources import registry
from coordination.resources.postgresql import PostgreSQLResource

logger = logging.getLogger(__name__)

EVERY = 15.0
"""Seconds between two looks at a database."""
FIRST = 2.0
"""Seconds that whoever asks first waits for an answer."""
MOST = 100
"""Of what somebody may see, so many are shown."""


@dataclass(frozen=True)
class Orphan:
    """A prepared transaction whose batch has ended, or is not in the journal (``batch`` is None)."""

    gid: str
    alias: str
    batch: UUID | None
    customer: int | None


@dataclass(frozen=True)
class Sight:
    """What was seen; ``blind`` are the databases that could not be looked at."""

    orphans: tuple[Orphan, ...]
    blind: tuple[str, ...]


class Lookout:
    """The databases of one process, and what the last look at each of them brought."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}
        self._looking: set[str] = set()
        self._found: dict[str, Sequence[Found] | None] = {}

    def sight(self) -> Sight:
        """What is there as of the last looks, which are begun here when they are due."""
        aliases, begun = registry.aliases(), []
        with self._lock:
            for alias in aliases:
                if time.monotonic() - self._looked.get(alias, -EVERY) < EVERY:
                    continue
                self._looked[alias] = time.monotonic()
                if alias in self._looking:  # it stands still: one look at it is enough
                    self._found[alias] = None
                else:
                    self._looking.add(alias)
                    begun.append(threading.Thread(target=self._look, args=(alias,), daemon=True))
        for thread in begun:
            thread.start()
        until = time.monotonic() + FIRST
        for thread in begun:
            if not any(alias in self._found for alias in aliases):
                thread.join(max(until - time.monotonic(), 0))
        with self._lock:
            found = {alias: self._found.get(alias) for alias in aliases}
        blind = tuple(sorted(alias for alias, some in found.items() if some is None))
        return Sight(_unaccounted([one for some in found.values() for one in some or ()]), blind)

    def _look(self, alias: str) -> None:
        found: Sequence[Found] | None = None
        try:
            resource = PostgreSQLResource(alias, installation=conf.installation())
            try:
                found = resource.recover()
            finally:
                resource.close()
        except ImproperlyConfigured:
            found = ()
        except Exception as error:  # whatever it is, the page says that it could not be looked at
            logger.info("Database %s could not be looked at for prepared transactions: %s", alias, error)
        finally:
            connections.close_all()
        with self._lock:
            self._found[alias] = found
            self._looking.discard(alias)


def _unaccounted(found: Sequence[Found]) -> tuple[Orphan, ...]:
    """Those old enough to matter, of which no open batch knows."""
    old = [one for one in found if one.age > conf.unresolved_seconds()]
    batches = {one.gid: parts.batch for one in old if (parts := gids.parse(one.gid))}
    rows = Batch.objects.filter(pk__in=set(batches.values())).values_list("pk", "customer", "ended")
    known = {pk: (customer, ended) for pk, customer, ended in rows}
    orphans = []
    for one in sorted(old, key=lambda one: one.gid):
        batch = batches.get(one.gid)
        customer, ended = known.get(batch, (None, None)) if batch else (None, None)
        if customer is None or ended is not None:
            orphans.append(Orphan(one.gid, one.alias, batch if customer is not None else None, customer))
    return tuple(orphans)


LOOKOUT = Lookout()
