"""The cast of the protocol's tests: one batch, a coordinator with a driver of ten lines, and short ways to say things.

Branch numbers count from 1. ``gid(2)`` is the first execution of branch 2, ``gid(2, 2)`` another one of it. Processes
are called p1, p2.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from coordination.protocol import gid as gids
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.effects import Acknowledge, Effect, Tell
from coordination.protocol.messages import (
    Failure,
    Held,
    Order,
    Resolved,
    ResolvedItem,
    Started,
    StartedItem,
    ToManager,
    VoteItem,
    Votes,
    Withdrawn,
    WithdrawnItem,
)
from coordination.protocol.states import BatchState, BranchState, Decision, Kind, Outcome
from coordination.protocol.stored import Snapshot, StoredBranch, Write, WriteResult

BATCH = UUID(int=7)
INSTALLATION = "5eed5eed"
COMMIT, ROLLBACK = Decision.COMMIT, Decision.ROLLBACK


def gid(branch: int, execution: int = 1) -> str:
    """The gid of one execution of ``branch``."""
    return gids.build(
        installation=INSTALLATION, batch=BATCH, branch=branch, round=0, token=token(branch, execution)
    )  # fmt: skip


def token(branch: int, execution: int = 1) -> str:
    """The random part of :func:`gid`."""
    return f"{branch:08x}{execution:08x}"


def item(
    branch: int, execution: int = 1, *, vote: Decision = COMMIT, kind: Kind = Kind.TWO_PHASE, members: Any = None
) -> VoteItem:
    """A vote of one execution; ``members`` if its gid covers other branches than its own."""
    failure = Failure(type="ZeroDivisionError", message="division by zero") if vote is ROLLBACK else None
    return VoteItem(
        vote=vote, gid=gid(branch, execution), members=members or (branch,), round=0, alias="ledger", kind=kind,
        proof="701", error=failure,
    )  # fmt: skip


def votes(*items: VoteItem, process: str = "p1") -> Votes:
    """A message of votes."""
    return Votes(batch=BATCH, process=process, items=items)


def started(branch: int, execution: int = 1, *, retries: int = 0, process: str = "p1") -> Started:
    """An execution says that it begins."""
    begins = StartedItem(branch=branch, token=token(branch, execution), retries=retries)
    return Started(batch=BATCH, process=process, items=(begins,))


def resolved(branch: int, execution: int = 1, outcome: Outcome = Outcome.COMMITTED) -> Resolved:
    """An agent reports what became of a gid."""
    report = ResolvedItem(gid=gid(branch, execution), outcome=outcome, how="finished")
    return Resolved(batch=BATCH, process="p1", items=(report,))


def withdrawn(branch: int, execution: int = 1, process: str = "p1") -> Withdrawn:
    """A holder has lost what it held."""
    gone = WithdrawnItem(gid=gid(branch, execution), reason="its connection was lost")
    return Withdrawn(batch=BATCH, process=process, items=(gone,))


def held(*names: str, process: str = "p1") -> Held:
    """A holder answers what it still holds."""
    return Held(batch=BATCH, process=process, gids=names)


class Driver:
    """A coordinator with the thinnest of drivers. ``told`` keeps everything it was made to send."""

    def __init__(
        self,
        branches: int | Sequence[StoredBranch] = 2,
        *,
        state: BatchState = BatchState.ACTIVE,
        decision: Decision | None = None,
    ) -> None:
        rows = branches
        if isinstance(rows, int):
            rows = [StoredBranch(number=n, alias="ledger", sent=True) for n in range(1, rows + 1)]
        self.core = Coordinator(Snapshot(batch=BATCH, state=state, decision=decision, branches=tuple(rows)))
        self.told: list[Effect] = []
        self.acknowledged: list[object] = []

    def hears(self, *messages: ToManager) -> None:
        """Deliver messages; each is its own receipt."""
        for message in messages:
            self.core.receive(message, message)
        self.collect()

    def collect(self) -> None:
        """Take the effects that are due."""
        for effect in self.core.effects():
            if isinstance(effect, Acknowledge):
                self.acknowledged.extend(effect.receipts)
            else:
                self.told.append(effect)

    def takes(self) -> Write:
        """The next write, which is outstanding from now on."""
        write = self.core.next_write()
        assert write is not None
        return write

    def ends(self, result: WriteResult = WriteResult.STORED) -> None:
        """The outstanding write ends so."""
        self.core.written(result)
        self.collect()

    def stores(self) -> Write:
        """Take the next write and store it."""
        write = self.takes()
        self.ends()
        return write

    def messages(self) -> list[object]:
        """What was sent to single mailboxes."""
        return [effect.message for effect in self.told if isinstance(effect, Tell)]

    def orders(self) -> list[tuple[str, Decision]]:
        """What was ordered to single processes: gid and outcome."""
        return [(i.gid, i.outcome) for m in self.messages() if isinstance(m, Order) for i in m.items]

    def state(self, branch: int) -> BranchState:
        """The state of one branch, as the next write leaves it."""
        return self.core.branches[branch].state
