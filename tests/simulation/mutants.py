"""The product with one rule broken, many times over: a checker that has never failed proves nothing.

Each mutant is :class:`~tests.simulation.world.Parts` with one part exchanged. What it breaks is its docstring.
``python -m tests.simulation --mutants`` shows how soon each is caught.
"""

from collections.abc import Callable
from typing import Any

from coordination.protocol import gid as gids
from coordination.protocol.attempt import Attempt, Fate, Prepared, Step
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.effects import Tell
from coordination.protocol.holdings import Action, Found, Holdings
from coordination.protocol.journal_rules import StrayFacts, Takeover, answer_stray
from coordination.protocol.messages import Decided, Failure, ResolvedItem, VoteItem, Votes, WithdrawnItem
from coordination.protocol.states import BatchState, Decision, Kind, Outcome
from coordination.protocol.stored import Write, WriteResult

from .databases import Databases, Tx
from .journal import Journal
from .manager import Manager
from .node import Claim, Node
from .weather import held_and_lost
from .worker import Worker
from .world import Parts, Violation, World

MUTANTS: dict[str, Parts] = {}


def mutant(part: str, **others: Any) -> Callable[[Any], Any]:
    """Register the decorated class as a mutant that takes the place of ``part``."""

    def register(broken: Any) -> Any:
        MUTANTS[broken.__name__] = Parts(**{part: broken}, **others)
        return broken

    return register


def caught(parts: Parts, schedules: int) -> tuple[int, Violation] | None:
    """How many schedules it took to see a violation, and that; None if none of ``schedules`` shows one."""
    for seed in range(schedules):
        try:
            World(seed, parts).run()
        except Violation as violation:
            return seed + 1, violation
    return None


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


# --- the journal and taking over ------------------------------------------------------------------------------

MUTANTS["ReadsThenClaims"] = Parts(
    takeover=(Takeover.READ_JOURNAL, Takeover.RAISE_EPOCH, *list(Takeover)[2:])
)  # The journal is read before the epoch is raised: what the former manager writes in between is missed.


class WithoutNullGuards(Journal):
    """Decision and adopted gids may be written over."""

    def guarded(self, write: Write, epoch: int) -> bool:
        return not self.pruned and epoch == self.epoch


class TakesUnknownForFailed(Node):
    """After a write with unknown result the node goes on with the same epoch, as if nothing had been written."""

    def _raise_epoch(self, claim: Claim) -> bool:
        if self.managers and self.managers[-1].epoch == self.world.journal.epoch:
            claim.epoch, self.world.journal.holder = self.world.journal.epoch, claim
            return True
        return super()._raise_epoch(claim)


MUTANTS["UnknownTakenAsFailed"] = Parts(node=TakesUnknownForFailed, journal=WithoutNullGuards)


@mutant("journal")
class NoEpochNoGuard(Journal):
    """Whoever writes, writes."""

    def guarded(self, write: Write, epoch: int) -> bool:
        return not self.pruned


@mutant("answer_stray")
class AnswersStraysOfOpenBatches:
    """A vote whose queue is gone is refused at once, whatever the journal says of its batch."""

    def __new__(cls, message: Any, facts: StrayFacts) -> Any:
        return answer_stray(message, StrayFacts(known=False))


@mutant("answer_stray")
class StraysCommitWhateverIsAsked:
    """A vote that strays is answered with the batch's decision, adopted or not."""

    def __new__(cls, message: Any, facts: StrayFacts) -> Any:
        names = {item.gid: False for item in message.items} if isinstance(message, Votes) else {}
        known = facts.known and facts.ended
        return answer_stray(message, StrayFacts(known=facts.known, decision=facts.decision, ended=facts.ended,
                                                adopted=names if known else facts.adopted))  # fmt: skip


MUTANTS["NobodyLooksAfterDeclaring"] = Parts(must_clean_up=lambda facts: False)
MUTANTS["QueueDeletedOnlyOnce"] = Parts(cleanup=Parts().cleanup[:-1])


# --- finishing ------------------------------------------------------------------------------------------------


@mutant("coordinator")
class ResolvedWithoutItsGid(Coordinator):
    """A report counts for its branch, whichever gid it names."""

    def _resolved(self, process: str, item: ResolvedItem) -> int:
        parts = gids.parse(item.gid)
        adopted = self.branches[parts.branch].gid if parts else None
        if adopted is None:
            return super()._resolved(process, item)
        return super()._resolved(process, ResolvedItem(gid=adopted, outcome=item.outcome, how=item.how))


@mutant("coordinator")
class FinishWaitsForEveryBranch(Coordinator):
    """A batch ends when every branch was reported, also those without an adopted gid."""

    def _put_decision(self, write: Write, decision: Decision, reason: str) -> None:
        super()._put_decision(write, decision, reason)
        silent = {b.number for b in self.branches.values() if b.gid is None}
        if silent:
            self._unfinished |= silent
            write.state = BatchState.ROLLING_BACK

    def _orders_by(self, key: Any, *, whole: bool = False) -> Any:
        unfinished, self._unfinished = self._unfinished, {n for n in self._unfinished if self.branches[n].gid}
        try:
            return super()._orders_by(key, whole=whole)
        finally:
            self._unfinished = unfinished


@mutant("coordinator", weather=held_and_lost)
class HeldOnlyToTheHolder(Coordinator):
    """What a dead process held is asked of that process only (a defect found in the product)."""

    def repeat(self) -> None:
        held = {n for n in self._unfinished if self.branches[n].kind is Kind.HELD}
        if not held:
            super().repeat()


@mutant("databases")
class MissingReadAsCommitted(Databases):
    """ "Does not exist" is read as committed."""

    def missing(self, gid: str, outcome: Decision, proof: str | None) -> tuple[Outcome, str]:
        return Outcome.COMMITTED, "it does not exist"


@mutant("databases")
class MissingReadAsRolledBack(Databases):
    """ "Does not exist" is read as rolled back."""

    def missing(self, gid: str, outcome: Decision, proof: str | None) -> tuple[Outcome, str]:
        return Outcome.ROLLED_BACK, "it does not exist"


# --- the participant ------------------------------------------------------------------------------------------


@mutant("holdings")
class CommitsAllItHolds(Holdings):
    """A ``COMMIT`` is carried out on everything this process holds of the batch."""

    def _decided(self, message: Decided) -> tuple[Action, ...]:
        self._remember(message.batch, message.outcome)
        return self._finish_all(message.batch, message.outcome, self._held.get(message.batch, {}))


@mutant("holdings", weather=held_and_lost)
class WithdrawsWhatItBegan(Holdings):
    """A held connection that died while it was being finished is withdrawn (a defect found in the product)."""

    def lost(self, batch: Any, gid: str) -> bool:
        self._begun.discard(gid)
        return super().lost(batch, gid)


@mutant("holdings")
class NeverVotesAgain(Holdings):
    """A vote is cast once."""

    def _vote_again(self, batch: Any) -> tuple[Action, ...]:
        return ()


@mutant("holdings")
class RollsBackOnStop(Holdings):
    """That a batch is over is taken for its rollback."""

    def _remember(self, batch: Any, decision: Decision | None) -> None:
        super()._remember(batch, decision or Decision.ROLLBACK)


@mutant("worker")
class ReturnedVoteRollsBack(Worker):
    """A vote that reaches no queue (the broker was wiped) is taken for the end of its batch."""

    def publish(self) -> None:
        if self.world.bus.queue is None:
            for kind, item, _ in self.outbox:
                tx = self.world.databases.all.get(getattr(item, "gid", ""))
                if kind is Votes and tx is not None and tx.status is Tx.PREPARED:
                    self.world.databases.abort(tx)
        super().publish()


@mutant("worker")
class SweepsByAge(Worker):
    """What has been prepared for ten seconds is rolled back."""

    def _sweep_votes(self, found: list[Found]) -> None:
        for each in found:
            tx = self.world.databases.prepared.get(each.gid)
            if tx is not None and each.age >= 10:
                self.world.databases.abort(tx)
        super()._sweep_votes(found)


@mutant("worker")
class NobodySweeps(Worker):
    """Prepared transactions whose process died are left to themselves."""

    def sweep(self) -> None:
        return


@mutant("attempt")
class VotesOnUnknownFate(Attempt):
    """A transaction nobody can tell the fate of is voted for all the same."""

    def looked_up(self, fate: Fate) -> Step:
        return super().looked_up(Fate.PREPARED if fate is Fate.UNKNOWN else fate)


@mutant("attempt")
class VotesCommitForUndone(Attempt):
    """A transaction that the server refused to prepare is voted ``COMMIT`` (the command's status is not read)."""

    def prepared(self, result: Prepared, failure: Failure | None = None) -> Step:
        return super().prepared(Prepared.DONE, failure)
