"""The journal, modelled: one batch row, its branches and attempts, and the guards that every write passes."""

from typing import TYPE_CHECKING
from uuid import UUID

from coordination.protocol.journal_rules import StrayFacts
from coordination.protocol.messages import Votes
from coordination.protocol.states import BATCH_ENDED, BatchState, Decision, Declared
from coordination.protocol.stored import Snapshot, StoredAttempt, StoredBranch, Write, WriteResult

if TYPE_CHECKING:
    from .checks import Checks


class Row:
    """One branch row."""

    __slots__ = ("alias", "gid", "kind", "number", "process", "proof", "round", "sent", "state")

    def __init__(self, number: int, alias: str) -> None:
        blank = StoredBranch(number=number, alias=alias)
        for name in self.__slots__:
            setattr(self, name, getattr(blank, name))


class Journal:
    """What is durable. ``store`` is one DB transaction: everything in it, or nothing."""

    def __init__(self, batch: UUID, aliases: list[str], checks: "Checks") -> None:
        self.batch, self.checks = batch, checks
        self.rows = {n: Row(n, alias) for n, alias in enumerate(aliases, 1)}
        self.attempts: dict[tuple[int, str], int | None] = {}
        self.state, self.epoch = BatchState.PENDING, 0
        self.decision: Decision | None = None
        self.reason = ""
        self.deadline = 0.0
        self.requests: dict[int, str | None] = {}
        self.declarations: dict[int, tuple[tuple[int, ...], Declared]] = {}
        """What is asked by those requests that are not cancellations: these tasks ended so."""
        self.holder: object | None = None
        """The manager whose lease has not run out; the lease only saves work, the epoch protects."""
        self.queue_deleted = self.pruned = False

    @property
    def ended(self) -> bool:
        """The batch has its outcome."""
        return self.state in BATCH_ENDED

    def raise_epoch(self) -> int | None:
        """``UPDATE … SET epoch = epoch + 1``: the new epoch, or None if there is no such row."""
        if self.pruned:
            return None
        self.epoch += 1
        return self.epoch

    def snapshot(self) -> Snapshot:
        """What a new manager reads."""
        names = Row.__slots__
        return Snapshot(
            batch=self.batch, state=self.state, decision=self.decision,
            branches=tuple(StoredBranch(**{n: getattr(r, n) for n in names}) for r in self.rows.values()),
            attempts=tuple(
                StoredAttempt(branch=b, token=t, retries=r) for (b, t), r in self.attempts.items() if r is not None
            ),
        )  # fmt: skip

    def facts(self, message: object) -> StrayFacts:
        """What a node that answers strays reads."""
        if self.pruned:
            return StrayFacts(known=False)
        names = {item.gid for item in message.items} if isinstance(message, Votes) else set()
        adopted = {r.gid: self.ended for r in self.rows.values() if r.gid is not None and r.gid in names}
        return StrayFacts(known=True, decision=self.decision, ended=self.ended, adopted=adopted)

    def guarded(self, write: Write, epoch: int) -> bool:
        """Whether every guard of ``write`` holds."""
        if self.pruned or epoch != self.epoch or (write.decision is not None and self.decision is not None):
            return False
        return all(c.gid is None or self.rows[n].gid is None for n, c in write.branches.items())

    def store(self, write: Write, epoch: int) -> WriteResult:
        """Carry ``write`` out, for a manager that holds ``epoch``."""
        if not self.guarded(write, epoch):
            return WriteResult.UNTOUCHED
        self.checks.storing(write)
        if write.state is not None:
            self.state = write.state
        if write.decision is not None:
            self.decision, self.reason = write.decision, write.reason
        for number, change in write.branches.items():
            row = self.rows[number]
            for name in ("state", "process", "gid", "kind", "proof", "round"):
                value = getattr(change, name)
                if value is not None:
                    setattr(row, name, value)
            row.sent = row.sent or change.sent
        for key, attempt in write.attempts.items():
            self.attempts[key] = attempt.retries if attempt.retries is not None else self.attempts.get(key)
        self.requests.update(write.requests)
        self.checks.stored(write)
        return WriteResult.STORED
