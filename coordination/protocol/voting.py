"""What agents say of their executions, and what they are answered (rules 3 to 7 of the coordinator)."""

from . import gid as gids
from . import reasons
from .deciding import Deciding
from .effects import Tell
from .finishing import Finishing
from .memory import BatchMemory, Branch
from .messages import Failure, Order, OrderItem, StartedItem, Stop, VoteItem, WithdrawnItem
from .states import BranchState, Decision, Kind, Outcome
from .write_ahead import WriteAhead

MAX_STARTS = 3
"""The start of a branch, with the same Celery ``retries`` and no vote before it, that counts as a ``ROLLBACK``."""
WORKER_DIED = (
    f"its worker died twice while running it, and it was started a {MAX_STARTS}rd time: "
    "look for memory, a hard time limit, a crash in native code, or RabbitMQ's consumer_timeout"
)


class Voting:
    """Takes in starts, votes and withdrawals. Each returns the number of the write that its receipt rests on."""

    def __init__(self, batch: BatchMemory, ahead: WriteAhead, deciding: Deciding, finishing: Finishing) -> None:
        self._batch, self._ahead, self._deciding, self._finishing = batch, ahead, deciding, finishing

    # --- starts -----------------------------------------------------------------------------------------------

    def started(self, process: str, item: StartedItem) -> int:
        """An execution begins; one too many is a ``ROLLBACK``."""
        branch = self._batch.branches.get(item.branch)
        if branch is None:
            return self._batch.ignore("started of no such task")
        if self._batch.decision is not None:
            self._ahead.emit(Tell(process=process, message=Stop(batch=self._batch.id)))
            return self._batch.ignore("started after the decision")
        if item.token in branch.tokens:
            return self._ahead.latest()
        branch.tokens.add(item.token)
        branch.starts[item.retries] += 1
        self._ahead.attempt(branch, item.token, process, retries=item.retries)
        if branch.gid is None:
            branch.process = process
            branch.state = BranchState.RUNNING
            self._ahead.change(branch, state=BranchState.RUNNING, process=process, started=True)
            if branch.starts[item.retries] >= MAX_STARTS:
                self._ahead.fail(branch, Failure(type="WorkerDied", message=WORKER_DIED))
                self._failed(branch, WORKER_DIED)
        return self._ahead.next.number

    # --- votes ------------------------------------------------------------------------------------------------

    def vote(self, process: str, item: VoteItem) -> int:
        """One vote, for all branches that its gid covers or for none (rules 3 and 7)."""
        branches = self._batch.branches
        numbers = dict.fromkeys(item.members)  # A branch named twice is one branch.
        members = [branches[n] for n in numbers if n in branches]
        if len(members) != len(numbers) or not members:
            return self._batch.ignore("vote of no such task")
        if self._batch.decision is not None:
            self._answer(process, item)
            return self._batch.ignore("vote after the decision")
        if item.vote is Decision.ROLLBACK:
            return self._vote_rollback(process, item, members)
        if again := self._batch.by_gid.get(item.gid):
            # Whichever branches this vote names: an adopted gid is never refused.
            return self._batch.ignore("vote again", rests_on=max(b.adopted_in for b in again))
        adopted = [b for b in members if b.gid is not None]
        stale = [b for b in members if item.round < b.round]
        if adopted or stale:
            rests_on = max((b.adopted_in for b in adopted), default=0)
            self._refuse(process, item, rests_on)
            return self._batch.ignore("vote refused", rests_on=rests_on)
        self._adopt(process, item, members)
        self._deciding.decide_if_complete()
        return self._ahead.next.number

    def _adopt(self, process: str, item: VoteItem, members: list[Branch]) -> None:
        self._batch.adopt(members, process, item, write=self._ahead.next.number)
        for branch in members:
            self._ahead.change(
                branch, state=BranchState.PREPARED, process=process, gid=item.gid, kind=item.kind, proof=item.proof,
                round=item.round, evidence=item.evidence, started=True,
            )  # fmt: skip
            self._ahead.attempt_voted(branch, process, item)

    def _vote_rollback(self, process: str, item: VoteItem, members: list[Branch]) -> int:
        """Rule 4."""
        free = [b for b in members if b.gid is None]
        if not free:
            rests_on = max(b.adopted_in for b in members)
            return self._batch.ignore("rollback vote of a prepared task", rests_on=rests_on)
        failure = item.error
        for branch in free:
            self._ahead.attempt_voted(branch, process, item)
            said = failure or Failure(type="", message="voted to roll back")
            self._ahead.fail(branch, said, evidence=item.evidence)
        self._failed(free[0], f"{failure.type}: {failure.message}" if failure else "it voted to roll back")
        return self._ahead.next.number

    def _failed(self, branch: Branch, words: str) -> None:
        task = reasons.task(branch.number, self._batch.branches)
        self._deciding.decide(Decision.ROLLBACK, f"{task} failed: {words}")

    def _refuse(self, process: str, item: VoteItem, rests_on: int) -> None:
        if item.kind is not Kind.READ_ONLY:
            self._ahead.when(rests_on, self._order_to(process, item, Decision.ROLLBACK))

    def _answer(self, process: str, item: VoteItem) -> None:
        """Rule 6: a vote after the decision. Nothing prepared hangs on a ``ROLLBACK`` vote or a read-only one."""
        if item.vote is Decision.ROLLBACK or item.kind is Kind.READ_ONLY:
            return
        adopted = self._batch.by_gid.get(item.gid)
        if adopted and all(b.finished for b in adopted):
            return  # Finished, and that may not be stored yet; if it is not true the next vote is answered again.
        outcome = self._batch.decision if adopted else Decision.ROLLBACK
        assert outcome is not None
        self._ahead.emit(self._order_to(process, item, outcome))

    def _order_to(self, process: str, item: VoteItem, outcome: Decision) -> Tell:
        order = OrderItem(gid=item.gid, outcome=outcome, alias=item.alias, proof=item.proof)
        return Tell(process=process, message=Order(batch=self._batch.id, items=(order,)))

    # --- withdrawals ------------------------------------------------------------------------------------------

    def withdrawn(self, process: str, item: WithdrawnItem) -> int:
        """Rule 5. After the decision it says how the adopted gid ended."""
        parts = gids.parse(item.gid)
        branch = self._batch.branches.get(parts.branch) if parts else None
        if branch is None:
            return self._batch.ignore("withdrawal of no such task")
        if branch.gid is not None and branch.gid != item.gid:
            return self._batch.ignore("withdrawal of another attempt", rests_on=branch.adopted_in)
        if self._batch.decision is None:
            task = reasons.task(branch.number, self._batch.branches)
            self._deciding.decide(Decision.ROLLBACK, f"{task} was lost: {item.reason}")
            if branch.gid is None:
                self._ahead.fail(branch, Failure(type="", message=item.reason))
            return self._ahead.next.number
        if branch.gid is None:
            return self._batch.ignore("withdrawal after the decision")
        return self._finishing.finish(self._batch.by_gid[item.gid], Outcome.ROLLED_BACK, item.reason)
