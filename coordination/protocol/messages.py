"""What agents and managers say to each other: the words, as frozen dataclasses.

Every message names its batch. Lists are lists from the start: a process coalesces what it has to say. How messages get
onto the wire and off it again is :mod:`.encoding`'s.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from .states import Decision, Kind, Outcome

MAX_TRACEBACK = 8_000
"""Characters of a traceback; a sender leaves out its middle (:func:`cut`)."""
MAX_REASON = 2_000
"""Characters of what is said to people in one sentence, cut in the same way."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a vote is ``ROLLBACK``: the exception's class, its words, and the traceback (cut in the middle)."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class StartedItem:
    """One attempt begins: ``retries`` is Celery's count, which redelivery does not raise."""

    branch: int
    token: str
    retries: int


@dataclass(frozen=True, kw_only=True)
class VoteItem:
    """One vote, for one gid and all branches it covers.

    ``proof`` is what the database needs to tell later what became of the gid (PostgreSQL: its xid8).
    ``evidence`` is for people: rows written, milliseconds of work and prepare.
    """

    vote: Decision
    gid: str
    members: tuple[int, ...]
    round: int
    alias: str
    kind: Kind
    proof: str | None = None
    evidence: dict[str, Any] | None = None
    error: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class WithdrawnItem:
    gid: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ResolvedItem:
    """What became of a gid, and ``how`` the agent knows: finished it, or found proof."""

    gid: str
    outcome: Outcome
    how: str


@dataclass(frozen=True, kw_only=True)
class OrderItem:
    """Finish ``gid`` so. Sent only from stored facts."""

    gid: str
    outcome: Decision
    alias: str
    proof: str | None = None


@dataclass(frozen=True, kw_only=True)
class Started:
    """agent → votes, not waited for. Answered (with :class:`Stop`) only if the batch is over."""

    batch: UUID
    process: str
    items: tuple[StartedItem, ...]


@dataclass(frozen=True, kw_only=True)
class Votes:
    """agent, or the sweep → votes."""

    batch: UUID
    process: str
    items: tuple[VoteItem, ...]


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """holder → votes: promises that lived in this process are gone."""

    batch: UUID
    process: str
    items: tuple[WithdrawnItem, ...]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """agent → votes: these gids are finished, or nobody can tell yet."""

    batch: UUID
    process: str
    items: tuple[ResolvedItem, ...]


@dataclass(frozen=True, kw_only=True)
class Held:
    """holder → votes, in answer to :class:`StillHeld`: of the gids asked about, these are still held."""

    batch: UUID
    process: str
    gids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Decided:
    """manager → mailboxes. For ``COMMIT``, ``gids`` are that process's adopted ones; absence means nothing.

    A ``ROLLBACK`` names none: it holds for everything of the batch. ``part`` counts from 1 to ``of``.
    """

    batch: UUID
    outcome: Decision
    gids: tuple[str, ...]
    part: int = 1
    of: int = 1


@dataclass(frozen=True, kw_only=True)
class Order:
    """node → mailbox, or the recovery queue of an alias."""

    batch: UUID
    items: tuple[OrderItem, ...]


@dataclass(frozen=True, kw_only=True)
class Inquire:
    """manager → all mailboxes: say again what you hold of this batch."""

    batch: UUID


@dataclass(frozen=True, kw_only=True)
class StillHeld:
    """manager → one mailbox: which of these do you still hold?"""

    batch: UUID
    gids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """node → all mailboxes: the batch is over, start none of its tasks."""

    batch: UUID


ToManager = Started | Votes | Withdrawn | Resolved | Held
ToAgent = Decided | Order | Inquire | StillHeld | Stop
Message = ToManager | ToAgent


def cut(text: str, limit: int = MAX_TRACEBACK) -> str:
    """``text``, with its middle left out if it is longer than ``limit`` characters: both ends of a traceback matter.

    NUL characters, which neither the wire nor the journal takes, become "␀".
    """
    text = text.replace("\x00", "␀")
    if len(text) <= limit:
        return text
    half = (limit - 40) // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
