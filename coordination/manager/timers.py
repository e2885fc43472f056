"""What a manager has to do at a certain time."""

from collections.abc import Callable
from time import monotonic

Timer = Callable[[], None]


class Timers:
    """Plain functions, each with the time of its next call. Nothing runs by itself."""

    def __init__(self) -> None:
        self._at: dict[Timer, float] = {}

    def set(self, timer: Timer, seconds: float) -> None:
        """``timer`` is due in so many seconds; when it was due before does not count any more."""
        self._at[timer] = monotonic() + seconds

    def drop(self, timer: Timer) -> None:
        """``timer`` is not due any more, if it was."""
        self._at.pop(timer, None)

    @property
    def next(self) -> float | None:
        """When the first of them is due, by the monotonic clock."""
        return min(self._at.values(), default=None)

    def run(self) -> None:
        """Call all that are due. A timer may be set again by its own call."""
        now = monotonic()
        for timer in [timer for timer, at in self._at.items() if at <= now]:
            del self._at[timer]
            timer()
