"""Which tasks are sent, and which are sent again because what was sent may be lost."""

from collections.abc import Iterable, Sequence

from .effects import CHUNK, Dispatch
from .memory import BatchMemory, Branch
from .states import BranchState
from .write_ahead import WriteAhead


class Dispatching:
    """Sends task messages. A branch that was sent twice runs twice; its first vote counts."""

    def __init__(self, batch: BatchMemory, ahead: WriteAhead) -> None:
        self._batch, self._ahead = batch, ahead

    def all(self) -> None:
        """The batch became ``ACTIVE``: send whatever has not voted."""
        self._dispatch([b.number for b in self._batch.branches.values() if b.gid is None], again=False)

    def unsent(self, *, wiped: bool) -> None:
        """Send again what is neither started nor stored as sent. ``wiped``: having been sent proves nothing."""
        self._dispatch([b.number for b in self._batch.branches.values() if _unsent(b, wiped)], again=True)

    def process_gone(self, process: str) -> None:
        """Send again what ran in ``process`` and has not voted."""
        lost = [b for b in self._batch.branches.values() if b.state is BranchState.RUNNING and b.process == process]
        if lost:
            for branch in lost:
                branch.process = ""
                self._ahead.change(branch, process="")
            self._ahead.note(f"Worker process {process} is gone; {len(lost)} of its tasks sent again")
            self._dispatch([b.number for b in lost], again=True)

    def sent(self, branches: Iterable[int]) -> None:
        """The broker confirmed the task messages of ``branches``."""
        for number in branches:
            branch = self._batch.branches[number]
            branch.sent = True
            self._ahead.change(branch, sent=True)

    def running_on(self) -> set[str]:
        """Processes that run branches which have not voted."""
        return {b.process for b in self._batch.branches.values() if b.state is BranchState.RUNNING and b.process}

    def waits_for_workers(self) -> bool:
        """Some branches are with no process."""
        return any(b.gid is None and not b.process for b in self._batch.branches.values())

    def _dispatch(self, numbers: Sequence[int], *, again: bool) -> None:
        for i in range(0, len(numbers), CHUNK):
            self._ahead.emit(Dispatch(branches=tuple(numbers[i : i + CHUNK]), again=again))


def _unsent(branch: Branch, wiped: bool) -> bool:
    if branch.state is BranchState.RUNNING:
        return not branch.process  # Its process was found gone, and it may not have been sent since.
    return branch.state is BranchState.PENDING and (wiped or not branch.sent)
