"""Names on the broker, in one place. Each has the installation's id in it: several may share a virtual host.

``coordination.<installation>.votes`` (topic) takes what agents say, key ``<batch>.<branch>``; each batch has one
durable classic queue bound ``<batch>.*``, and what finds no queue goes by the alternate exchange to ``….strays``.
``….decisions`` (direct) reaches mailboxes, one a process, bound under its id and under ``all``.
``….recovery.<alias>`` is a durable queue read by every agent that has that database. ``….poison`` is read by nobody but
people: it keeps the last messages that nobody understood.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

ALL = "all"
MAILBOX_ARGUMENTS: dict[str, Any] = {"x-expires": 60_000}
"""A mailbox that nobody reads is gone after a minute: its process was killed, or cannot reach the broker."""
BATCH_ARGUMENTS: dict[str, Any] = {"x-expires": 24 * 60 * 60 * 1000}
"""A batch's queue that nobody reads is gone after a day, or one that a crash left behind would stay for ever.

A queue with a consumer never expires, and while a node runs, every open batch has one. Without a node for a day,
nothing is lost that does not come again: the sweep votes for all that is prepared, and the next manager, which has to
make the queue anew, asks all agents what they hold and sends again what no agent has begun.
"""

POISON_ARGUMENTS: dict[str, Any] = {
    "x-max-length": 1_000, "x-overflow": "drop-head", "x-message-ttl": 14 * 24 * 60 * 60 * 1000,
}  # fmt: skip
POISON_BYTES = 16_384
"""How much of a message that nobody understands is kept."""


@dataclass(frozen=True)
class Topology:
    """The names of one installation."""

    installation: str

    @property
    def votes(self) -> str:
        """The exchange that takes what agents say."""
        return self._name("votes")

    @property
    def strays(self) -> str:
        """Both the alternate exchange (fanout) of :attr:`votes` and the durable queue bound to it."""
        return self._name("strays")

    @property
    def decisions(self) -> str:
        """The exchange that reaches mailboxes."""
        return self._name("decisions")

    @property
    def exchanges(self) -> tuple[tuple[str, str, dict[str, Any]], ...]:
        """Name, type and arguments of our exchanges, all durable, in an order in which they can be declared.

        Nodes and agents declare them alike, whoever comes first, and the queue :attr:`strays` with them.
        """
        return (
            (self.strays, "fanout", {}),
            (self.votes, "topic", {"alternate-exchange": self.strays}),
            (self.decisions, "direct", {}),
        )

    @property
    def poison(self) -> str:
        """The queue of messages that nobody understands, for people."""
        return self._name("poison")

    def batch_queue(self, batch: UUID) -> str:
        """The queue of one batch's votes."""
        return self._name(f"batch.{batch.hex}")

    def mailbox(self, process: str) -> str:
        """The mailbox queue of one worker process."""
        return self._name(f"mailbox.{process}")

    def recovery_queue(self, alias: str) -> str:
        """The queue of orders that any agent with this database may carry out."""
        return self._name(f"recovery.{alias}")

    def _name(self, what: str) -> str:
        return f"coordination.{self.installation}.{what}"


def batch_binding(batch: UUID) -> str:
    """What binds a batch's queue to the exchange of votes."""
    return f"{batch.hex}.*"


def vote_key(batch: UUID, branch: int) -> str:
    """Routing key of what an agent says about a branch (of several, the first)."""
    return f"{batch.hex}.{branch}"
