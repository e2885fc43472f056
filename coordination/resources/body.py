"""The body of a task as it works behind an alias: interrupted only while it runs, judged when it has ended."""

import contextlib
import threading
from collections.abc import Callable

from coordination.protocol.messages import Failure

from .enlisted import Enlisted
from .failure import failure_of

LEAKED = (
    "the task ended its transaction itself, by a COMMIT or ROLLBACK of the driver's or inside a longer statement: "
    "what it had committed by then STAYS in the database, whatever becomes of the batch"
)


class Body:
    """One run of a body, whose statements ``enlisted`` watches."""

    def __init__(self, enlisted: Enlisted) -> None:
        self.interrupted = False
        """Somebody has tried to end it: an answer to that may still be on its way to the connection."""
        self._enlisted = enlisted
        self._ended = False
        self._gate = threading.Lock()
        """Held while a statement is being interrupted: what comes after the body waits for that, so is never hit."""

    def end(self) -> None:
        """From now on it is not interrupted any more. Waits for whoever is at it."""
        with self._gate:
            self._ended = True

    def interrupt(self, cancel: Callable[[], object]) -> bool:
        """As :meth:`Work.interrupt`; ``cancel`` ends the statement that runs, within seconds; it may raise."""
        with self._gate:
            if self._ended:
                return False
            self.interrupted = self._enlisted.watch.over = True
            # A server that does not answer, a connection that the body has closed: there is nothing to cancel then.
            with contextlib.suppress(Exception):
                cancel()
            return True

    def problem(self, explain: Callable[[BaseException], str]) -> Failure | None:
        """As :meth:`Work.problem`, as far as it can be told without asking the database; ends the body."""
        self.end()
        watch = self._enlisted.watch
        if watch.refused is not None:
            return failure_of(watch.refused, before="the task went on after this was refused: ")
        if broken := self._enlisted.broken():
            return Failure(type="", message=broken)
        if watch.error is not None:
            after = explain(watch.error)
            return failure_of(watch.error, before="the task swallowed a database error: ", after=after)
        return None
