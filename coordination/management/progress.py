"""Progress of a batch on stderr: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from coordination.journal.queries import BatchStatus
from coordination.protocol.states import BRANCH_ENDED, LOOKS, BatchState, BranchState

LINE_SECONDS = 2.0
"""Plain lines that say nothing but how many tasks are done come no more often than this."""


class Shown(Protocol):
    """Shows how a batch gets on."""

    def show(self, status: BatchStatus) -> None:
        """What was seen last."""

    def note(self, text: str) -> None:
        """A line that stays."""

    def close(self) -> None:
        """Nothing more will come."""


def progress() -> Shown:
    """What suits the process's stderr."""
    return Bar() if sys.stderr.isatty() else Lines()


def counted(status: BatchStatus) -> str:
    """The tasks by state, in words."""
    parts = [f"{n:,} {LOOKS[state].word.lower()}" for state in BranchState if (n := status.counts.get(state))]
    return ", ".join(parts)


def _done(status: BatchStatus) -> int:
    """Tasks that need nothing more in the phase the batch is in."""
    done = set(BRANCH_ENDED)
    if status.state in (BatchState.PENDING, BatchState.ACTIVE):
        done.add(BranchState.PREPARED)
    return sum(n for state, n in status.counts.items() if state in done)


class Lines:
    """Plain lines, each with its time, when something has changed."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()
        self._counts: dict[BranchState, int] = {}
        self._at = 0.0

    def show(self, status: BatchStatus) -> None:
        stands = (status.state, status.waiting_for)
        news = stands != self._last or (
            status.counts != self._counts and time.monotonic() - self._at >= LINE_SECONDS and not status.has_ended
        )
        if not news:
            return
        self._last, self._counts, self._at = stands, status.counts, time.monotonic()
        waiting = f"; waiting for {status.waiting_for}" if status.waiting_for and not status.has_ended else ""
        self.note(f"{status.state}: {counted(status)}{waiting}")

    def note(self, text: str) -> None:
        sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S}Z {text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        pass


class Bar:
    """A bar that counts votes, then the tasks that are finished."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None

    def show(self, status: BatchStatus) -> None:
        words = f"waiting for {status.waiting_for}" if status.waiting_for and not status.has_ended else counted(status)
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(status.state.value, total=status.tasks, words=words)
        self._bar.update(self._task, description=status.state.value, completed=_done(status), words=words)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def close(self) -> None:
        if self._task is not None:
            self._bar.stop()
