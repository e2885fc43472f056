"""Names on the broker, in one place.

``coordination.votes`` (topic) takes what agents say, key ``<batch>.<branch>``; each batch has one durable classic
queue bound ``<batch>.*``, and what finds no queue goes by the alternate exchange to ``coordination.strays``.
``coordination.decisions`` (direct) reaches mailboxes, one a process, bound under its id and under ``all``.
``coordination.recovery.<alias>`` is a durable queue read by every agent that has that database.
"""

from typing import Any
from uuid import UUID

VOTES = "coordination.votes"
STRAYS = "coordination.strays"
"""Both the alternate exchange (fanout) of VOTES and the durable queue bound to it."""
DECISIONS = "coordination.decisions"
ALL = "all"
MAILBOX_EXPIRES_MS = 60_000
"""A mailbox that nobody reads is gone after so long: its process was killed, or cannot reach the broker."""
EXCHANGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (STRAYS, "fanout", {}),
    (VOTES, "topic", {"alternate-exchange": STRAYS}),
    (DECISIONS, "direct", {}),
)
"""Name, type and arguments of our exchanges, all durable, in an order in which they can be declared. Nodes and agents
declare them alike, whoever comes first, and the queue STRAYS with them."""


def batch_queue(batch: UUID) -> str:
    """The queue of one batch's votes."""
    return f"coordination.batch.{batch.hex}"


def batch_binding(batch: UUID) -> str:
    """What binds :func:`batch_queue` to ``VOTES``."""
    return f"{batch.hex}.*"


def vote_key(batch: UUID, branch: int) -> str:
    """Routing key of what an agent says about a branch (of several, the first)."""
    return f"{batch.hex}.{branch}"


def mailbox(process: str) -> str:
    """The mailbox queue of one worker process."""
    return f"coordination.mailbox.{process}"


def recovery_queue(alias: str) -> str:
    """The queue of orders that any agent with this database may carry out."""
    return f"coordination.recovery.{alias}"
