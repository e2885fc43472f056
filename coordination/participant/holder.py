"""Looks after the promises that live in this process: the open transactions of databases that cannot prepare.

1.  A connection that is found lost before a decision on it has begun is withdrawn; afterwards never.
2.  "Still held?" is answered for connections that were asked just then, not for ones that are believed in.
3.  Cut off from the broker for longer than COORDINATION_HOLD_LIMIT, this process closes what it holds: locks that
    nobody may be able to release otherwise. What it has heard the COMMIT of it commits all the same.
4.  A clean stop ends what has been decided, and withdraws the rest.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from uuid import UUID

from coordination import conf
from coordination.protocol.holdings import Holdings
from coordination.protocol.messages import Held, VoteItem, WithdrawnItem
from coordination.resources.base import Resource
from coordination.resources.held import HeldResource

from .publisher import Publisher

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Between two looks whether what is held is still there."""
STOP_SECONDS = 5.0
"""How long a stop waits for the end of what is decided, or may be any moment because its manager has just asked."""


class Holder:
    """The held side of one agent, which lends it its memory and the lock around that."""

    def __init__(
        self,
        lock: threading.Lock,
        holdings: Holdings,
        publisher: Publisher,
        resource_of: Callable[[str], Resource],
        connected: Callable[[], bool],
    ) -> None:
        """``connected`` tells whether this process can be told decisions at this moment."""
        self._lock = lock
        self._holdings = holdings
        self._publisher = publisher
        self._resource_of = resource_of
        self._connected = connected
        self._stopping = threading.Event()
        self._asked: dict[str, float] = {}
        """Gids that were said to be still held, and when."""
        self._looking: set[str] = set()
        """Databases that are being looked at: one that does not answer is not looked at once more."""

    def start(self) -> None:
        """Start looking after what will be held."""
        threading.Thread(target=self._watch, name="coordination-held", daemon=True).start()

    def answer(self, question: Held) -> None:
        """Answer what a manager has asked; ``question`` names what this process believes it holds.

        In a thread of its own: asking a database may take its time, and then there is no answer in time, rightly.
        """
        threading.Thread(target=self._answer, args=(question,), name="coordination-still-held", daemon=True).start()

    def stop(self) -> None:
        """End what is decided, and withdraw what is not. Waits some seconds if a decision may be under way."""
        self._stopping.set()
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until and self._expects_a_decision():
            time.sleep(0.05)
        self._withdraw(self._kept(), "its worker process was stopped while the task waited for the decision")

    def _expects_a_decision(self) -> bool:
        with self._lock:
            kept = {item.gid for _, item in self._holdings.kept()}
            begun = self._holdings.begun()
        recent = time.monotonic() - STOP_SECONDS
        return begun or any(gid in kept and at > recent for gid, at in list(self._asked.items()))

    def _kept(self) -> Sequence[tuple[UUID, VoteItem]]:
        with self._lock:
            return self._holdings.kept()

    def _answer(self, question: Held) -> None:
        with self._lock:
            asked = [(batch, item) for batch, item in self._holdings.kept() if item.gid in question.gids]
        self._look(asked)
        with self._lock:
            here = self._holdings.still_held(question.batch, question.gids)
        self._asked.update(dict.fromkeys(here, time.monotonic()))
        self._publisher.answer(Held(batch=question.batch, process=question.process, gids=here))

    def _watch(self) -> None:
        heard = time.monotonic()
        while not self._stopping.wait(min(LOOK_SECONDS, conf.hold_limit() / 4)):
            now = time.monotonic()
            kept = self._kept()
            names = {item.gid for _, item in kept}
            self._asked = {gid: at for gid, at in self._asked.items() if gid in names}
            if self._connected():
                heard = now
            elif kept and now - heard > conf.hold_limit():
                words = f"its worker process was cut off from the broker for {now - heard:.0f} s"
                words = f"{words} (COORDINATION_HOLD_LIMIT is {conf.hold_limit():.0f} s)"
                for ours in _by_database(kept).values():
                    self._start(partial(self._withdraw, ours, words))
                continue
            for alias, ours in _by_database(kept).items():
                if alias not in self._looking:
                    self._looking.add(alias)
                    self._start(partial(self._look_at, alias, ours))

    def _start(self, work: Callable[[], None]) -> None:
        """In a thread of its own: a database that does not answer holds up no other, nor the hold limit."""

        def run() -> None:
            try:
                work()
            except Exception:
                logger.exception("What this process holds could not be looked after.")

        threading.Thread(target=run, name="coordination-held-look", daemon=True).start()

    def _look_at(self, alias: str, kept: Sequence[tuple[UUID, VoteItem]]) -> None:
        try:
            self._look(kept)
        finally:
            self._looking.discard(alias)

    def _look(self, kept: Sequence[tuple[UUID, VoteItem]]) -> None:
        """Ask each of them; those that are not there any more are withdrawn."""
        for batch, item in kept:
            resource = self._resource_of(item.alias)
            if isinstance(resource, HeldResource) and (why := resource.look(item.gid)):
                self._withdraw([(batch, item)], why)

    def _withdraw(self, kept: Sequence[tuple[UUID, VoteItem]], why: str) -> None:
        """Give these up, but for those on which a decision has begun meanwhile."""
        for batch, item in kept:
            resource = self._resource_of(item.alias)
            with self._lock:
                # Both in one, or a decision that arrives between would find it in one place and not in the other.
                if not self._holdings.lost(batch, item.gid) or not isinstance(resource, HeldResource):
                    continue
                close = resource.take(item.gid)
            logger.warning("What is held of batch %s is given up: %s.", batch, why, extra={"batch": str(batch)})
            self._publisher.withdrawn(batch, WithdrawnItem(gid=item.gid, reason=why))
            if close is not None:
                close()


def _by_database(kept: Sequence[tuple[UUID, VoteItem]]) -> Mapping[str, list[tuple[UUID, VoteItem]]]:
    found: dict[str, list[tuple[UUID, VoteItem]]] = defaultdict(list)
    for batch, item in kept:
        found[item.alias].append((batch, item))
    return found
