"""Mutants of the deciding half: votes, adoptions, the decision, and acknowledgements."""

from typing import Any

from coordination.protocol import reasons
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.deciding import Deciding
from coordination.protocol.effects import Tell
from coordination.protocol.finishing import Finishing
from coordination.protocol.messages import VoteItem, WithdrawnItem
from coordination.protocol.states import Decision, Kind, Outcome
from coordination.protocol.stored import Write, WriteResult
from coordination.protocol.voting import Voting
from coordination.protocol.write_ahead import WriteAhead

from ..manager import Manager
from ..weather import held_and_lost
from .registry import mutant, within_coordinator

# --- votes, adoptions and the decision ------------------------------------------------------------------------


@within_coordinator()
class VotesCountedBySender(Voting):
    """Who sent a vote matters, not which gid it names: a second gid from the adopted process passes for the first."""

    def vote(self, process: str, item: VoteItem) -> int:
        members = [self._batch.branches[n] for n in item.members]
        if self._batch.decision is None and all(b.gid and b.process == process for b in members):
            return self._batch.ignore("vote again", rests_on=max(b.adopted_in for b in members))
        return super().vote(process, item)

    def _answer(self, process: str, item: VoteItem) -> None:
        if item.vote is Decision.COMMIT and all(self._batch.branches[n].process == process for n in item.members):
            assert self._batch.decision is not None
            self._ahead.emit(self._order_to(process, item, self._batch.decision))
        else:
            super()._answer(process, item)


@within_coordinator()
class RefusesBeforeStored(Voting):
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
                self._ahead.next.branches[number] = write.branches.pop(number)
        return write


@within_coordinator()
class AdoptsForSome(Voting):
    """A gid that covers several branches is adopted for those of them that are free."""

    def vote(self, process: str, item: VoteItem) -> int:
        branches = self._batch.branches
        free = tuple(n for n in item.members if branches[n].gid is None)
        if self._batch.decision is None and item.vote is Decision.COMMIT and free and len(free) < len(item.members):
            self._adopt(process, item, [branches[n] for n in free])
            self._deciding.decide_if_complete()
            return self._ahead.next.number
        return super().vote(process, item)


@within_coordinator()
class AnnouncesBeforeStored(Deciding):
    """The verdict is announced when it is reached."""

    def decide(self, decision: Decision, reason: str) -> None:
        super().decide(decision, reason)
        self._batch.decision = decision
        Finishing(self._batch, self._ahead).announce()
        self._batch.decision = None


@mutant("coordinator")
class WritesOnlyGatheredFacts(Coordinator):
    """A verdict with nothing else to write is never written (a defect the simulator found in the product)."""

    @property
    def writable(self) -> bool:
        return super().writable and self._ahead.wanted


@within_coordinator(weather=held_and_lost)
class DeadlineBeatsAdoptions(Deciding):
    """The deadline decides although all branches are adopted, while their holders are still asked."""

    def deadline_passed(self) -> None:
        self.decide(Decision.ROLLBACK, reasons.deadline(self._batch.branches))


@within_coordinator()
class BelievesHoldersBlindly(Finishing):
    """What a process holds is taken for committed when that is repeated, without a report."""

    def repeat(self) -> None:
        for number in list(self._batch.unfinished):
            branch = self._batch.branches[number]
            if branch.kind is Kind.HELD:
                self._finish(branch, Outcome.COMMITTED, "assumed")
        self.end_if_finished()
        super().repeat()


@within_coordinator()
class SpeaksAfterSteppingDown(WriteAhead):
    """After a write that touched no row, deliveries are still acknowledged (a defect found in the product)."""

    def emit(self, effect: Any) -> None:
        self._effects.append(effect)


# --- acknowledgements and what is ignored ---------------------------------------------------------------------


@within_coordinator()
class AcknowledgesAtOnce(WriteAhead):
    """A message is acknowledged when it is understood, not when what it says is stored."""

    def when(self, number: int, effect: Any) -> None:
        super().when(number if isinstance(effect, Tell) else 0, effect)


@within_coordinator(weather=held_and_lost)
class ForgetsWhatItIgnoresFor(Voting):
    """A withdrawal of another attempt is acknowledged on an unstored adoption (a defect found in the product)."""

    def withdrawn(self, process: str, item: WithdrawnItem) -> int:
        rests_on = super().withdrawn(process, item)
        return 0 if self._batch.ignored.pop("withdrawal of another attempt", 0) else rests_on


@mutant("manager")
class AcknowledgesWithNoRowTouched(Manager):
    """The row count of a write is not looked at."""

    def answered(self, result: WriteResult, write: Write) -> None:
        self.fenced = self.fenced or result is WriteResult.UNTOUCHED
        super().answered(WriteResult.STORED if result is WriteResult.UNTOUCHED else result, write)
