"""Mutants of finishing, and of the participant's half."""

from typing import Any

from coordination.protocol import gid as gids
from coordination.protocol.attempt import Attempt, Fate, Prepared, Step
from coordination.protocol.deciding import Deciding
from coordination.protocol.finishing import Finishing
from coordination.protocol.holdings import Action, Found, Holdings
from coordination.protocol.messages import Decided, Failure, ResolvedItem, Votes
from coordination.protocol.states import BatchState, Decision, Kind, Outcome

from ..databases import Databases, Tx
from ..weather import held_and_lost
from ..worker import Worker
from ..world import Parts
from .registry import MUTANTS, made_of, mutant, within_coordinator

# --- finishing ------------------------------------------------------------------------------------------------


@within_coordinator()
class ResolvedWithoutItsGid(Finishing):
    """A report counts for its branch, whichever gid it names."""

    def resolved(self, process: str, item: ResolvedItem) -> int:
        parts = gids.parse(item.gid)
        adopted = self._batch.branches[parts.branch].gid if parts else None
        if adopted is None:
            return super().resolved(process, item)
        return super().resolved(process, ResolvedItem(gid=adopted, outcome=item.outcome, how=item.how))


class ExpectsEveryBranch(Deciding):
    """A decision leaves also those without an adopted gid unfinished."""

    def put(self, decision: Decision, reason: str) -> None:
        super().put(decision, reason)
        silent = {b.number for b in self._batch.branches.values() if b.gid is None}
        if silent:
            self._batch.unfinished |= silent
            self._ahead.turn(BatchState.ROLLING_BACK)


class OrdersWhatHasAGid(Finishing):
    """It copes with such ones."""

    def _orders_by(self, key: Any, *, whole: bool = False) -> Any:
        batch = self._batch
        unfinished, batch.unfinished = batch.unfinished, {n for n in batch.unfinished if batch.branches[n].gid}
        try:
            return super()._orders_by(key, whole=whole)
        finally:
            batch.unfinished = unfinished


# A batch ends when every branch was reported, also those without an adopted gid.
MUTANTS["FinishWaitsForEveryBranch"] = Parts(coordinator=made_of(ExpectsEveryBranch, OrdersWhatHasAGid))


@within_coordinator(weather=held_and_lost)
class HeldOnlyToTheHolder(Finishing):
    """What a dead process held is asked of that process only (a defect found in the product)."""

    def repeat(self) -> None:
        held = {n for n in self._batch.unfinished if self._batch.branches[n].kind is Kind.HELD}
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
