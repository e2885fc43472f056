"""What a coordinator orders its driver to do. Carried out in the order given."""

from dataclasses import dataclass
from typing import Any

from .messages import Order, ToAgent
from .states import BatchState

Receipt = Any
"""Whatever the driver needs to acknowledge a delivery; opaque to the core."""
CHUNK = 500
"""Gids in one announcement or order, branches in one dispatch."""


@dataclass(frozen=True, kw_only=True)
class Acknowledge:
    """What these deliveries say is stored."""

    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, kw_only=True)
class Tell:
    """Send to one process's mailbox."""

    process: str
    message: ToAgent


@dataclass(frozen=True, kw_only=True)
class TellAll:
    """Send to every mailbox."""

    message: ToAgent


@dataclass(frozen=True, kw_only=True)
class Recover:
    """Send to the recovery queue of an alias, where any agent that has it takes it."""

    alias: str
    message: Order


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """Publish the Celery messages of these branches, then say :meth:`Coordinator.sent`."""

    branches: tuple[int, ...]
    again: bool


@dataclass(frozen=True, kw_only=True)
class AwaitHolders:
    """Call :meth:`Coordinator.holders_silent` in two seconds, unless decided by then."""


@dataclass(frozen=True, kw_only=True)
class StepDown:
    """Acknowledge nothing more, close the channel, drop this coordinator. ``reclaim``: then claim the batch again."""

    reclaim: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end is stored: the batch's queue may go."""

    state: BatchState


Effect = Acknowledge | Tell | TellAll | Recover | Dispatch | AwaitHolders | StepDown | Ended
