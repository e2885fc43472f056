"""Rule 2 of the coordinator, write ahead: what a write is to store, and what may be done once it is stored."""

from collections import defaultdict
from typing import Any

from . import gid as gids
from .effects import Effect, StepDown
from .memory import Branch
from .messages import Failure, VoteItem
from .states import BatchState, BranchState
from .stored import AttemptChange, BranchChange, Write, WriteResult


class WriteAhead:
    """The next write, the outstanding one, and the effects that rest on them.

    A fact goes into ``next`` and has that write's number. :meth:`when` keeps an effect back until the write of a
    number is stored; :meth:`emit` is for what rests on stored facts only. One write is outstanding at a time.
    """

    def __init__(self) -> None:
        self.next = Write(number=1)
        self.stepped_down = False
        """A write was not stored, or nobody can tell: nothing is written and nothing goes out any more."""
        self._outstanding: Write | None = None
        self._done = 0
        self._after: dict[int, list[Effect]] = defaultdict(list)
        self._effects: list[Effect] = []

    # --- writes -----------------------------------------------------------------------------------------------

    @property
    def free(self) -> bool:
        """A write may go to the journal: none is outstanding."""
        return self._outstanding is None and not self.stepped_down

    @property
    def wanted(self) -> bool:
        """There is a fact to store, or an effect that waits for the next write."""
        return bool(self.next) or bool(self._after.get(self.next.number))

    @property
    def urgent(self) -> bool:
        """The next write should not wait for company."""
        return self.next.urgent and self._outstanding is None

    def hurry(self) -> None:
        """Make the next write urgent."""
        self.next.urgent = True

    def take(self) -> Write:
        """The next write, which is outstanding until :meth:`answered`."""
        write = self.next
        self._outstanding, self.next = write, Write(number=write.number + 1)
        return write

    def answered(self, result: WriteResult) -> Write | None:
        """The outstanding write ended so: that write if it is stored, None if nothing may follow.

        Raises RuntimeError if no write is outstanding.
        """
        write = self._outstanding
        if write is None:
            raise RuntimeError("no write is outstanding")
        if result is not WriteResult.STORED:
            untouched = result is WriteResult.UNTOUCHED
            why = "another node manages this batch" if untouched else "the journal did not answer"
            self._effects.clear()
            self.emit(StepDown(reclaim=not untouched, why=why))
            self.stepped_down = True
            return None
        self._outstanding, self._done = None, write.number
        return write

    def latest(self) -> int:
        """The number of the write with which everything up to now is stored."""
        if self.next:
            return self.next.number
        return self._outstanding.number if self._outstanding else 0

    # --- effects ----------------------------------------------------------------------------------------------

    def when(self, number: int, effect: Effect) -> None:
        """``effect`` once write ``number`` is stored."""
        if number <= self._done:
            self.emit(effect)
        else:
            self._after[number].append(effect)

    def release(self, number: int) -> None:
        """Write ``number`` is stored: what waits for it is due."""
        self._effects.extend(self._after.pop(number, ()))

    def emit(self, effect: Effect) -> None:
        """``effect`` now."""
        if not self.stepped_down:  # A driver may still have a delivery to hand in before it carries that out.
            self._effects.append(effect)

    def effects(self) -> list[Effect]:
        """What is due, in this order; handed out once."""
        effects, self._effects = self._effects, []
        return effects

    # --- facts: from here on they are in the next write ---------------------------------------------------------

    def note(self, entry: str) -> None:
        """An entry of the batch's history."""
        self.next.entries.append(entry)

    def turn(self, state: BatchState) -> None:
        """The batch's next state."""
        self.next.state = state

    def answer(self, request: int, words: str) -> None:
        """A person's request (its id) is carried out; they wait for ``words``."""
        self.next.requests[request] = words
        self.hurry()

    def turn_branch(self, branch: Branch, state: BranchState, how: str) -> None:
        """A branch's next state, and how it came to it."""
        branch.state = state
        self.change(branch, state=state, how=how)

    def fail(self, branch: Branch, failure: Failure, *, evidence: dict[str, Any] | None = None) -> None:
        """A branch has failed."""
        branch.state = BranchState.FAILED
        self.change(branch, state=BranchState.FAILED, error=failure, evidence=evidence, started=True)

    def change(self, branch: Branch, **values: Any) -> None:
        """New values of a branch's row (:class:`BranchChange`)."""
        change = self.next.branches.setdefault(branch.number, BranchChange(number=branch.number))
        for name, value in values.items():
            setattr(change, name, value)

    def attempt(self, branch: Branch, token: str, process: str, **values: Any) -> None:
        """A new attempt of a branch, or new values of one (:class:`AttemptChange`)."""
        change = self.next.attempts.setdefault(
            (branch.number, token), AttemptChange(branch=branch.number, token=token, process=process)
        )
        for name, value in values.items():
            setattr(change, name, value)

    def attempt_voted(self, branch: Branch, process: str, item: VoteItem) -> None:
        """What an attempt of a branch voted."""
        parts = gids.parse(item.gid)
        if parts is not None:
            self.attempt(branch, parts.token, process, vote=item.vote, error=item.error)
