"""What a worker process has to say, coalesced: a message costs its sender and the node more than what is in it.

A task hands its vote over and ends. What gathers while the process is at work leaves together, after a moment at the
latest; at once when the process has nothing more to do, and when somebody must be told at once. Nothing is lost while
the process lives: what was not confirmed is said again.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from coordination import crashpoints
from coordination.bus.port import AgentBus, BusError
from coordination.crashpoints import Point
from coordination.protocol import gid as gids
from coordination.protocol.encoding import MAX_ITEMS, MessageError, encode
from coordination.protocol.messages import (
    Held,
    Resolved,
    ResolvedItem,
    Started,
    StartedItem,
    VoteItem,
    Votes,
    Withdrawn,
    WithdrawnItem,
)
from coordination.protocol.states import Decision

logger = logging.getLogger(__name__)

TOGETHER, ENDS_TOGETHER = 0.08, 0.012
"""Seconds that what a busy process says waits for company; reports of what is finished wait less.

A publish costs worker, broker and node about as much as three of the short tasks it tells of.
"""
LOOK = 0.004
"""Seconds between two looks whether the process is still busy, while something waits."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds before saying again what the broker did not confirm."""
IDLE_TICK = 1.5
"""Seconds between two signs of life on the publishing connection while there is nothing to say."""
AT_ONCE = 500
"""Messages in one publish, so that waiting for their confirms stays within the bus's five seconds."""

Item = StartedItem | VoteItem | ResolvedItem | WithdrawnItem
Told = Callable[[], None]
Outgoing = tuple[UUID, int, bytes, list[Told]]


class Publisher:
    """One thread that publishes; its methods may be called from any thread and never wait."""

    def __init__(self, bus: AgentBus, process: str, busy: Callable[[], bool]) -> None:
        """``busy`` tells, without waiting for anything, whether the process will soon have more to say."""
        self._bus = bus
        self._process = process
        self._busy = busy
        self._changed = threading.Condition()
        self._gathered: dict[tuple[type, UUID], list[tuple[Item, Told | None]]] = {}
        self._answers: list[Held] = []
        self._outgoing: list[Outgoing] = []
        self._due = math.inf
        """When what has gathered must leave at the latest, by the monotonic clock; infinite if nothing has."""
        self._pause = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="coordination-publisher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def started(self, batch: UUID, item: StartedItem, told: Told | None = None) -> None:
        """Say that an attempt begins. With ``told``, at once; that is called when the broker has confirmed it.

        Without, it is left out if its vote is there before it has left.
        """
        self._add(Started, batch, [item], told, within=0 if told else TOGETHER)

    def votes(self, batch: UUID, items: Sequence[VoteItem]) -> None:
        """Cast votes. One ``ROLLBACK`` leaves at once: the others' work is in vain."""
        failed = any(item.vote is Decision.ROLLBACK for item in items)
        self._add(Votes, batch, items, within=0 if failed else TOGETHER)

    def resolved(self, batch: UUID, item: ResolvedItem, told: Told | None = None) -> None:
        """Report what became of a gid; ``told`` is called once the broker has confirmed it."""
        self._add(Resolved, batch, [item], told, within=ENDS_TOGETHER)

    def withdrawn(self, batch: UUID, item: WithdrawnItem) -> None:
        """Take back a promise that lived in this process."""
        self._add(Withdrawn, batch, [item], within=0)

    def answer(self, message: Held) -> None:
        """Answer what a manager asked."""
        with self._changed:
            self._answers.append(message)
            self._leave_by(0)

    def flush(self, timeout: float) -> bool:
        """Wait until all is confirmed. False if it is not within ``timeout`` seconds."""
        with self._changed:
            self._leave_by(0)
            return self._changed.wait_for(lambda: not self._waiting(), timeout)

    def stop(self) -> None:
        """End the thread after the publish that is under way; call :meth:`flush` first."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(1)

    def _add(
        self, kind: type, batch: UUID, items: Iterable[Item], told: Told | None = None, *, within: float
    ) -> None:
        with self._changed:
            self._gathered.setdefault((kind, batch), []).extend((item, told) for item in items)
            self._leave_by(time.monotonic() + within if within else 0)

    def _leave_by(self, due: float) -> None:
        if due < self._due and not self._pause:
            self._due = due
            self._changed.notify_all()

    def _waiting(self) -> bool:
        return bool(self._gathered or self._answers or self._outgoing)

    def _run(self) -> None:
        while self._wait():
            with self._changed:
                gathered, self._gathered = self._gathered, {}
                answers, self._answers = self._answers, []
                self._due = math.inf
                # Taken for waiting until confirmed, so that flush() sees it.
                self._outgoing.extend(self._messages(gathered, answers))
            if any(kind is Votes for kind, _ in gathered):
                crashpoints.reach(Point.VOTE_LEAVING)
            pause = self._publish(self._pause) if self._outgoing else 0.0
            if not pause and any(kind is Votes for kind, _ in gathered):
                crashpoints.reach(Point.VOTE_SENT)
            with self._changed:
                paused, self._pause = self._pause, pause
                if pause or self._outgoing:
                    self._due = time.monotonic() + pause
                elif paused and self._waiting():  # It came when there was no saying when it could leave.
                    self._due = 0

    def _wait(self) -> bool:
        """Wait until something must leave. False when there is nothing more to wait for."""
        while True:
            with self._changed:
                if not self._leaves() and not self._stopping:
                    self._changed.wait(self._patience())
                if self._stopping:
                    return False
                if self._leaves():
                    return True
                idle = math.isinf(self._due)
            if idle:
                self._bus.tick()

    def _leaves(self) -> bool:
        left = self._due - time.monotonic()
        return left <= 0 or (not math.isinf(left) and not self._pause and not self._busy())

    def _patience(self) -> float:
        if math.isinf(self._due):
            return IDLE_TICK
        left = max(self._due - time.monotonic(), 0)
        return left if self._pause else min(left, LOOK)

    def _publish(self, pause: float) -> float:
        """Publish what is outgoing; returns the seconds to wait before the next try."""
        now = self._outgoing[:AT_ONCE]
        try:
            self._bus.publish([(batch, branch, body) for batch, branch, body, _ in now])
        except BusError as error:
            if not pause:
                logger.warning("The broker cannot be told what this process has to say; trying on. %s", error)
            return min(pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        if pause:
            logger.info("The broker takes what this process has to say again.")
        with self._changed:
            del self._outgoing[: len(now)]
            self._changed.notify_all()
        for *_, tell in now:
            for told in tell:
                told()
        return 0.0

    def _messages(
        self, gathered: dict[tuple[type, UUID], list[tuple[Item, Told | None]]], answers: Sequence[Held]
    ) -> Iterable[Outgoing]:
        # No attempt votes before it is said to have started; a vote that is there already says that as well.
        for (kind, batch), starts in gathered.items():
            if kind is Started and (votes := gathered.get((Votes, batch))):
                tokens = {_token_of(vote) for vote, _ in votes}
                starts[:] = [(item, told) for item, told in starts if told or _token_of(item) not in tokens]
        for (kind, batch), entries in sorted(gathered.items(), key=lambda each: each[0][0] is not Started):
            for i in range(0, len(entries), MAX_ITEMS):
                yield from self._encoded(kind, batch, entries[i : i + MAX_ITEMS])
        for answer in answers:
            yield answer.batch, _branch_of(answer.gids[0]) if answer.gids else 0, encode(answer), []

    def _encoded(self, kind: Any, batch: UUID, entries: list[tuple[Item, Told | None]]) -> Iterable[Outgoing]:
        items = tuple(item for item, _ in entries)
        try:
            body = encode(kind(batch=batch, process=self._process, items=items))
        except MessageError:
            if len(entries) == 1:
                logger.exception("This cannot be said: %.500r", items[0], extra={"batch": str(batch)})
                return
            half = len(entries) // 2
            yield from self._encoded(kind, batch, entries[:half])
            yield from self._encoded(kind, batch, entries[half:])
            return
        yield batch, _first_branch(items[0]), body, [told for _, told in entries if told is not None]


def _first_branch(item: Item) -> int:
    if isinstance(item, StartedItem):
        return item.branch
    return item.members[0] if isinstance(item, VoteItem) else _branch_of(item.gid)


def _token_of(item: Item) -> str:
    if isinstance(item, StartedItem):
        return item.token
    parts = gids.parse(item.gid)
    return parts.token if parts else ""


def _branch_of(gid: str) -> int:
    parts = gids.parse(gid)
    return parts.branch if parts else 0
