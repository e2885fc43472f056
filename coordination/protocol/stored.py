"""What the journal holds of a batch, and the writes that change it: the vocabulary between core and journal."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from .messages import Failure
from .states import BatchState, BranchState, Decision, Kind


@dataclass(frozen=True, kw_only=True)
class StoredBranch:
    """A branch as the journal has it."""

    number: int
    alias: str
    state: BranchState = BranchState.PENDING
    sent: bool = False
    round: int = 0
    gid: str | None = None
    kind: Kind | None = None
    proof: str | None = None
    process: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredAttempt:
    """One start of a branch as the journal has it. A vote whose ``started`` never came (no ``retries``) is none."""

    branch: int
    token: str
    retries: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All the journal knows of a batch that a coordinator needs: the only way to make one."""

    batch: UUID
    state: BatchState
    decision: Decision | None
    branches: tuple[StoredBranch, ...]
    attempts: tuple[StoredAttempt, ...] = ()


@dataclass(kw_only=True)
class BranchChange:
    """New values of one branch row; None leaves a column as it is.

    ``gid`` may only be written over NULL: the writer guards it and reports a write that touched fewer rows.
    """

    number: int
    state: BranchState | None = None
    process: str | None = None
    gid: str | None = None
    kind: Kind | None = None
    proof: str | None = None
    round: int | None = None
    how: str | None = None
    evidence: dict[str, Any] | None = None
    error: Failure | None = None
    started: bool = False
    sent: bool = False


@dataclass(kw_only=True)
class AttemptChange:
    """A new or changed attempt row, found by ``(branch, token)``."""

    branch: int
    token: str
    process: str
    retries: int | None = None
    vote: Decision | None = None
    error: Failure | None = None


@dataclass(kw_only=True)
class Write:
    """One DB transaction of the journal: everything in it, or nothing.

    The writer begins with the batch row, guarded by the epoch, and by ``decision IS NULL`` if ``decision`` is set.
    """

    number: int
    urgent: bool = False
    state: BatchState | None = None
    decision: Decision | None = None
    reason: str = ""
    branches: dict[int, BranchChange] = field(default_factory=dict)
    attempts: dict[tuple[int, str], AttemptChange] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    requests: dict[int, str] = field(default_factory=dict)
    """Operator requests carried out by this write: id → result in words."""

    def __bool__(self) -> bool:
        return bool(self.state or self.decision or self.branches or self.attempts or self.entries or self.requests)


class WriteResult(StrEnum):
    """How a write ended. ``UNTOUCHED``: a guard did not hold, nothing was changed. ``UNKNOWN``: no answer came."""

    STORED = "stored"
    UNTOUCHED = "untouched"
    UNKNOWN = "unknown"
