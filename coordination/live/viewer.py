"""One socket's place in a feed: what is to be sent to it next, and whether it keeps up."""

import asyncio
from collections import deque
from collections.abc import Callable

WINDOW = 4
"""Frames sent and not yet answered by the browser. The server cannot see how much of what it sent lies unread in
buffers on the way, so the browser answers each frame, and this bounds the buffers."""


class Left(Exception):
    """The viewer is to be closed with ``code``, after the ``bye`` frame that says so."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Viewer:
    """Frames for one socket, in order; at most ``WINDOW`` of them unanswered.

    One that falls behind is not sent what it has missed: as soon as it answers again it gets a fresh snapshot.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: deque[str] = deque()
        self._wake = asyncio.Event()
        self._unanswered = 0
        self._silent_since = 0.0
        self._bye: int | None = None
        self.wants_snapshot = True  # until it has said hello it has nothing that a delta could change

    def begin_again(self) -> None:
        """Forget what was to be sent: the browser is to get a snapshot first."""
        self._waiting.clear()
        self.wants_snapshot = True

    def offer(self, frame: str) -> None:
        """Send ``frame`` next, or, if the socket does not keep up, a snapshot later."""
        if self.wants_snapshot:
            return
        if not self.has_room:
            self.begin_again()
            return
        self._waiting.append(frame)
        self._wake.set()

    def offer_snapshot(self, frame: str) -> None:
        """Send a snapshot if one is wanted and there is room for it."""
        if self.wants_snapshot and self.has_room:
            self.wants_snapshot = False
            self.offer(frame)

    @property
    def has_room(self) -> bool:
        """Whether another frame may be sent."""
        return self._unanswered + len(self._waiting) < WINDOW

    @property
    def silent_seconds(self) -> float:
        """How long frames have lain unanswered; 0 if none does."""
        return self._clock() - self._silent_since if self._unanswered else 0.0

    def answered(self) -> None:
        """The browser has taken a frame."""
        self._unanswered = max(0, self._unanswered - 1)
        self._silent_since = self._clock()

    def leave(self, code: int) -> None:
        """Have the socket closed with ``code``; what was still to be sent is dropped."""
        self._bye = code
        self._wake.set()

    async def next(self) -> str:
        """Wait for the next frame to send. Raises Left when the socket is to be closed instead."""
        while self._bye is None:
            if self._waiting:
                if not self._unanswered:
                    self._silent_since = self._clock()
                self._unanswered += 1
                return self._waiting.popleft()
            self._wake.clear()
            await self._wake.wait()
        raise Left(self._bye)


class Bye:
    """Codes that a socket is closed with, each after the frame that names it."""

    SIGN_IN = 4401
    NOT_FOUND = 4404
    TOO_SLOW = 4408
    TOO_MUCH = 4429
