"""Celery's soft time limit, held back outside the task's body.

A prefork worker raises SoftTimeLimitExceeded wherever its child happens to be. In the body that is an exception as any
other, so a vote; in the middle of PREPARE or of handing a vote over it would only do harm, so there it waits.
"""

import signal
import threading
from types import FrameType
from typing import Any

SIGNAL = signal.SIGUSR1
"""What billiard's pool sends to a child for the soft limit."""


class NoSoftLimit:
    """Holds it back from :meth:`impose` to :meth:`lift`. Outside a process's main thread there is none to hold."""

    def __init__(self) -> None:
        self._handler: Any = None
        self._came: FrameType | None = None
        self._imposed = False

    def impose(self) -> None:
        """Hold it back from here on."""
        if not self._imposed and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(SIGNAL, self._hold)
            self._imposed = True

    def lift(self, *, raises: bool = True) -> None:
        """Let it through again; raises it at once if it came meanwhile, unless told not to."""
        if self._imposed:
            self._imposed = False
            signal.signal(SIGNAL, self._handler if self._handler is not None else signal.SIG_DFL)
            came, self._came = self._came, None
            if came is not None and raises and callable(self._handler):
                self._handler(SIGNAL, came)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        self._came = frame
