"""The decision of a batch (rule 1 of the coordinator, and what the deadline of rule 8 looks at)."""

from collections import defaultdict

from . import reasons
from .effects import AwaitHolders, Tell
from .memory import BatchMemory
from .messages import MAX_REASON, Held, StillHeld, cut
from .states import BatchState, BranchState, Decision, Kind
from .stored import Write
from .write_ahead import WriteAhead


class Deciding:
    """Reaches one verdict and puts it into a write. What is held by processes is asked for once more before ``COMMIT``.

    While ``verdict`` is set no input may come in: it is not stored yet, and nothing may come before it any more.
    """

    def __init__(self, batch: BatchMemory, ahead: WriteAhead) -> None:
        self._batch, self._ahead = batch, ahead
        self.verdict: tuple[Decision, str] | None = None
        self._holders: set[str] | None = None
        self._present: set[str] = set()

    @property
    def undecided(self) -> bool:
        """The batch runs, and nothing is decided."""
        return (
            self._batch.decision is None and self._batch.state is BatchState.ACTIVE and not self._ahead.stepped_down
        )

    # --- towards a verdict ------------------------------------------------------------------------------------

    def decide_if_complete(self) -> None:
        """``COMMIT`` if every branch has an adopted gid, and the holders of promises still have them."""
        if self._batch.unadopted or self.verdict or not self.undecided or self._holders is not None:
            return
        held: dict[str, list[str]] = defaultdict(list)
        for branch in self._batch.branches.values():
            if branch.kind is Kind.HELD and branch.gid:
                held[branch.process].append(branch.gid)
        if not held:
            self.decide(Decision.COMMIT, "")
            return
        self._holders, self._present = set(held), set()
        for process, names in held.items():
            self._ahead.emit(Tell(process=process, message=StillHeld(batch=self._batch.id, gids=tuple(names))))
        self._ahead.emit(AwaitHolders())

    def held(self, message: Held) -> None:
        """A holder answers; when all have, that is the verdict."""
        branches = self._batch.branches
        if self._holders is None or self._batch.decision is not None:
            return
        self._present.update(message.gids)
        mine = {b.gid for b in branches.values() if b.kind is Kind.HELD and b.process == message.process}
        self._holders.discard(message.process)
        if gone := mine - self._present:
            self._holders = None
            first = min(b.number for b in branches.values() if b.gid in gone)
            self.decide(Decision.ROLLBACK, f"{reasons.task(first, branches)} is no longer held by its worker")
        elif not self._holders:
            self.decide(Decision.COMMIT, "")

    def holders_silent(self) -> None:
        """Those who were asked had their time: silence counts as withdrawn."""
        if self._holders and self.undecided and not self.verdict:
            silent = sorted(self._holders)
            self._holders = None
            self.decide(Decision.ROLLBACK, f"Worker process {silent[0]} no longer answers for what it holds")

    def deadline_passed(self) -> None:
        """``ROLLBACK``, unless all are prepared and only their holders are still asked: they have two seconds."""
        if self._batch.unadopted or self._batch.state is not BatchState.ACTIVE:
            self.decide(Decision.ROLLBACK, reasons.deadline(self._batch.branches))
        else:
            self.decide_if_complete()

    def decide(self, decision: Decision, reason: str) -> None:
        """The verdict, if there is none yet; ``reason`` may be empty for ``COMMIT``."""
        if self.verdict is None:
            self.verdict = decision, cut(reason or reasons.all_voted(len(self._batch.branches)), MAX_REASON)
            self._ahead.hurry()

    # --- the decision's write ---------------------------------------------------------------------------------

    def put(self, decision: Decision, reason: str) -> None:
        """Put the decision into the next write, beside all adoptions that it rests on."""
        write, unfinished = self._ahead.next, self._batch.unfinished
        write.decision, write.reason = decision, reason
        self._ahead.note(f"Decided {decision}: {reason}")
        commit = decision is Decision.COMMIT
        for branch in self._batch.branches.values():
            if branch.gid is None and not branch.finished:
                ran = branch.state is BranchState.RUNNING
                state = BranchState.ROLLED_BACK if ran else BranchState.NOT_RUN
                how = "Undone before it voted" if ran else "The batch was over before it ran"
                self._ahead.turn_branch(branch, state, how)
            elif branch.kind is Kind.READ_ONLY and branch.gid is not None:
                state = BranchState.COMMITTED if commit else BranchState.ROLLED_BACK
                self._ahead.turn_branch(branch, state, "It wrote nothing")
                unfinished.discard(branch.number)
        if unfinished:
            self._ahead.turn(BatchState.COMMITTING if commit else BatchState.ROLLING_BACK)
        else:
            self._ahead.turn(BatchState.COMMITTED if commit else BatchState.ROLLED_BACK)

    def stored(self, write: Write) -> None:
        """The decision's write is stored."""
        self._batch.decision = write.decision
        self.verdict = self._holders = None
