"""What a node lends to each of its managers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from coordination.bus.port import NodeBus
from coordination.journal.pool import JournalPool

from .dispatch import Dispatcher
from .outside import Outside
from .waiting_room import WaitingRoom

Notify = Callable[[UUID], Awaitable[None]]
"""Tells screens that a batch has changed; may lose it, never raises."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The node's name, and what its managers share."""

    node: str
    bus: NodeBus
    journal: JournalPool
    dispatcher: Dispatcher
    waiting_room: WaitingRoom
    notify: Notify
    process_lives: Callable[[str], Awaitable[bool]]
    outside: Outside
