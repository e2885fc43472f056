"""From the decision to the end of a batch (rules 9 and 10 of the coordinator)."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from . import reasons
from .effects import CHUNK, Recover, Tell, TellAll
from .memory import BatchMemory, Branch
from .messages import Decided, Order, OrderItem, ResolvedItem, Stop
from .states import BATCH_ENDED, CONTRADICTED, BatchState, BranchState, Decision, Declared, Outcome
from .write_ahead import WriteAhead


class Finishing:
    """Says what was decided until every adopted gid is finished, then ends the batch."""

    def __init__(self, batch: BatchMemory, ahead: WriteAhead) -> None:
        self._batch, self._ahead = batch, ahead
        self._repeats = 0

    @property
    def unfinished(self) -> bool:
        """Decided, and some adopted gid is not known to be finished."""
        return self._batch.decision is not None and bool(self._batch.unfinished)

    # --- saying what is decided -------------------------------------------------------------------------------

    def announce(self) -> None:
        """Tell each process what is decided of its adopted gids, and all that no task may start any more."""
        batch = self._batch
        assert batch.decision is not None
        if batch.decision is Decision.COMMIT:
            for process, items in self._orders_by(lambda b: b.process, whole=True):
                parts = [items[i : i + CHUNK] for i in range(0, len(items), CHUNK)]
                for part, chunk in enumerate(parts, 1):
                    names = tuple(dict.fromkeys(item.gid for item in chunk))
                    message = Decided(batch=batch.id, outcome=batch.decision, gids=names, part=part, of=len(parts))
                    self._ahead.emit(Tell(process=process, message=message))
        else:
            for process in sorted({b.process for b in batch.branches.values() if b.process}):
                message = Decided(batch=batch.id, outcome=batch.decision, gids=())
                self._ahead.emit(Tell(process=process, message=message))
        self._ahead.emit(TellAll(message=Stop(batch=batch.id)))

    def repeat(self) -> None:
        """Say again what is decided and not finished; from the second time on to any agent as well.

        Of a promise that lives in one process another agent can only find the proof of how it ended: that is what
        ends a batch whose holder died.
        """
        if not self.unfinished:
            return
        self._repeats += 1
        for process, items in self._orders_by(lambda b: b.process):
            self._ahead.emit(Tell(process=process, message=Order(batch=self._batch.id, items=items)))
        if self._repeats >= 2:
            for alias, items in self._orders_by(lambda b: b.alias):
                self._ahead.emit(Recover(alias=alias, message=Order(batch=self._batch.id, items=items)))

    def ask_again(self) -> str:
        """Repeat now, and to any agent. What came of it, in words."""
        self._repeats = max(self._repeats, 1)
        self.repeat()
        if not self.unfinished:
            return "There is nothing to ask for"
        return f"Asked again what became of {reasons.counted(len(self._batch.unfinished))}"

    def _orders_by(
        self, key: Callable[[Branch], str], *, whole: bool = False
    ) -> list[tuple[str, tuple[OrderItem, ...]]]:
        """Orders for all unfinished gids, grouped by ``key``, in chunks unless ``whole``."""
        batch = self._batch
        assert batch.decision is not None
        groups: dict[str, dict[str, OrderItem]] = defaultdict(dict)
        for number in sorted(batch.unfinished):
            b = batch.branches[number]
            assert b.gid is not None
            groups[key(b)][b.gid] = OrderItem(gid=b.gid, outcome=batch.decision, alias=b.alias, proof=b.proof)
        size = len(batch.branches) if whole else CHUNK
        return [
            (name, items[i : i + size])
            for name, items in ((name, tuple(group.values())) for name, group in groups.items())
            for i in range(0, len(items), size)
        ]

    # --- hearing what became of it ----------------------------------------------------------------------------

    def resolved(self, process: str, item: ResolvedItem) -> int:
        """A report. Returns the number of the write that its receipt rests on."""
        members = self._batch.by_gid.get(item.gid)
        if self._batch.decision is None or not members:
            return self._batch.ignore("report of a gid that is not adopted")
        if item.outcome is Outcome.UNKNOWN:
            return self._batch.ignore("fate unknown")
        return self.finish(members, item.outcome, item.how)

    def finish(self, members: Sequence[Branch], outcome: Outcome, how: str) -> int:
        """The gid of ``members`` ended so. Returns the number of the write that stores it."""
        for branch in members:
            self._finish(branch, outcome, how)
        self.end_if_finished()
        return max(b.finished_in for b in members)

    def declared(self, numbers: Sequence[int], fate: Declared, how: str) -> str:
        """Rule 10. What came of it, in words."""
        batch = self._batch
        if batch.decision is None:
            return "Refused: the batch is not decided. Cancel it instead"
        named = [batch.branches[n] for n in sorted(set(numbers)) if n in batch.unfinished]
        if not named:
            return "Nothing was declared: these tasks have ended"
        for branch in named:
            together = {b.number for b in batch.by_gid[branch.gid or ""]}
            if not together.issubset(numbers):
                tasks = reasons.listed(sorted(together))
                return f"Refused: tasks {tasks} were prepared as one. Declare them together"
        for branch in named:
            if fate is Declared.LOST:
                self._close(branch, BranchState.LOST, how)
            else:
                self._finish(branch, Outcome(fate.value), how)
        tasks = f"{reasons.counted(len(named))} ({reasons.listed([b.number for b in named])})"
        self._ahead.note(f"{how} ({tasks})")
        self.end_if_finished()
        return f"Declared {fate.words}: {tasks}"

    def _finish(self, branch: Branch, outcome: Outcome, how: str) -> None:
        if branch.number not in self._batch.unfinished:
            self._batch.ignore("report again")
            return
        agrees = (outcome is Outcome.COMMITTED) == (self._batch.decision is Decision.COMMIT)
        if outcome is Outcome.COMMITTED:
            state = BranchState.COMMITTED if agrees else BranchState.HEURISTIC_COMMIT
        else:
            state = BranchState.ROLLED_BACK if agrees else BranchState.HEURISTIC_ROLLBACK
        if not agrees:
            self._ahead.note(f"Task {branch.number} was {outcome.replace('_', ' ')} against the decision: {how}")
        self._close(branch, state, how)

    def _close(self, branch: Branch, state: BranchState, how: str) -> None:
        self._ahead.turn_branch(branch, state, how)
        branch.finished_in = self._ahead.next.number
        self._batch.unfinished.discard(branch.number)

    # --- the end ----------------------------------------------------------------------------------------------

    def end_if_finished(self) -> None:
        """The batch's outcome, once every adopted gid is finished."""
        batch, ahead = self._batch, self._ahead
        if batch.unfinished or batch.decision is None or batch.state in BATCH_ENDED or ahead.next.state in BATCH_ENDED:
            return
        if any(b.state in CONTRADICTED for b in batch.branches.values()):
            ahead.turn(BatchState.MIXED)
        else:
            ahead.turn(BatchState.COMMITTED if batch.decision is Decision.COMMIT else BatchState.ROLLED_BACK)
        ahead.hurry()
