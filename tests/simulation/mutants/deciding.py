"""Mutants of the deciding half: votes, adoptions, the decision, and acknowledgements."""

from typing import Any

from coordination.protocol.coordinator import Coordinator
from coordination.protocol.effects import Tell
from coordination.protocol.messages import VoteItem, WithdrawnItem
from coordination.protocol.states import Decision, Kind, Outcome
from coordination.protocol.stored import Write, WriteResult

from ..manager import Manager
from ..weather import held_and_lost
from .registry import mutant

# --- votes, adoptions and the decision ------------------------------------------------------------------------


@mutant("coordinator")
class VotesCountedBySender(Coordinator):
    """Who sent a vote matters, not which gid it names: a second gid from the adopted process passes for the first."""

    def _vote(self, process: str, item: VoteItem) -> int:
        members = [self.branches[n] for n in item.members]
        if self.decision is None and all(b.gid and b.process == process for b in members):
            return self._ignore("vote again", rests_on=max(b.adopted_in for b in members))
        return super()._vote(process, item)

    def _answer(self, process: str, item: VoteItem) -> None:
        if item.vote is Decision.COMMIT and all(self.branches[n].process == process for n in item.members):
            assert self.decision is not None
            self._emit(self._order_to(process, item, self.decision))
        else:
            super()._answer(process, item)


@mutant("coordinator")
class RefusesBeforeStored(Coordinator):
    """A second gid is refused as soon as the first is adopted in memory."""

    def _refuse(self, process: str, item: VoteItem, rests_on: int) -> None:
        super()._refuse(process, item, 0)


@mutant("coordinator")
class DecidesWithoutLastAdoptions(Coordinator):
    """The decision is stored first, the adoptions it rests on in the next write."""

    def next_write(self) -> Write | None:
        write = super().next_write()
        if write is not None and write.decision is Decision.COMMIT:
            adoptions = [n for n, change in write.branches.items() if change.gid is not None]
            for number in adoptions:
                self._next.branches[number] = write.branches.pop(number)
        return write


@mutant("coordinator")
class AdoptsForSome(Coordinator):
    """A gid that covers several branches is adopted for those of them that are free."""

    def _vote(self, process: str, item: VoteItem) -> int:
        free = tuple(n for n in item.members if self.branches[n].gid is None)
        if self.decision is None and item.vote is Decision.COMMIT and free and len(free) < len(item.members):
            self._adopt(process, item, [self.branches[n] for n in free])
            self._decide_if_complete()
            return self._next.number
        return super()._vote(process, item)


@mutant("coordinator")
class AnnouncesBeforeStored(Coordinator):
    """The verdict is announced when it is reached."""

    def _verdict_of(self, decision: Decision, reason: str) -> None:
        super()._verdict_of(decision, reason)
        self.decision = decision
        self._announce()
        self.decision = None


@mutant("coordinator")
class WritesOnlyGatheredFacts(Coordinator):
    """A verdict with nothing else to write is never written (a defect the simulator found in the product)."""

    @property
    def writable(self) -> bool:
        return super().writable and (bool(self._next) or bool(self._after.get(self._next.number)))


@mutant("coordinator", weather=held_and_lost)
class DeadlineBeatsAdoptions(Coordinator):
    """The deadline decides although all branches are adopted, while their holders are still asked."""

    def deadline_passed(self) -> None:
        self._decide_when_idle(lambda: self._verdict_of(Decision.ROLLBACK, self._deadline_reason()))


@mutant("coordinator")
class BelievesHoldersBlindly(Coordinator):
    """What a process holds is taken for committed when that is repeated, without a report."""

    def repeat(self) -> None:
        for number in list(self._unfinished):
            branch = self.branches[number]
            if branch.kind is Kind.HELD:
                self._finish(branch, Outcome.COMMITTED, "assumed")
        self._end_if_finished()
        super().repeat()


@mutant("coordinator")
class SpeaksAfterSteppingDown(Coordinator):
    """After a write that touched no row, deliveries are still acknowledged (a defect found in the product)."""

    def _emit(self, effect: Any) -> None:
        self._effects.append(effect)


# --- acknowledgements and what is ignored ---------------------------------------------------------------------


@mutant("coordinator")
class AcknowledgesAtOnce(Coordinator):
    """A message is acknowledged when it is understood, not when what it says is stored."""

    def _when(self, number: int, effect: Any) -> None:
        super()._when(number if isinstance(effect, Tell) else 0, effect)


@mutant("coordinator", weather=held_and_lost)
class ForgetsWhatItIgnoresFor(Coordinator):
    """A withdrawal of another attempt is acknowledged on an unstored adoption (a defect found in the product)."""

    def _withdrawn(self, process: str, item: WithdrawnItem) -> int:
        rests_on = super()._withdrawn(process, item)
        return 0 if self.ignored.pop("withdrawal of another attempt", 0) else rests_on


@mutant("manager")
class AcknowledgesWithNoRowTouched(Manager):
    """The row count of a write is not looked at."""

    def answered(self, result: WriteResult, write: Write) -> None:
        self.fenced = self.fenced or result is WriteResult.UNTOUCHED
        super().answered(WriteResult.STORED if result is WriteResult.UNTOUCHED else result, write)
