"""The two ports to the bus: :class:`NodeBus` for a node (asyncio), :class:`AgentBus` for a worker process (threads).

RabbitMQ is behind :mod:`.node_amqp` and :mod:`.agent_amqp`; names of exchanges and queues are in :mod:`.topology`.
One contract suite (``tests/contract``) holds every adapter to what is said here. Bodies are opaque bytes: encoding
is :mod:`coordination.protocol.messages`'s.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


class BusError(Exception):
    """The broker cannot be reached or did not confirm in time. Nothing is known to have arrived; try again."""


class Delivery(Protocol):
    """One message from a queue, unacknowledged until told otherwise."""

    body: bytes

    async def acknowledge(self) -> None:
        """It may be forgotten. Never raises: on a closed channel the broker delivers it again by itself."""


class BatchChannel(Protocol):
    """Consumer of one batch's queue, on an AMQP channel of its own."""

    async def close(self) -> None:
        """Stop consuming; what was not acknowledged goes back to the queue. Never raises."""

    async def waiting(self) -> int:
        """Messages in the queue that nobody has been given yet. Raises BusError."""


@dataclass(frozen=True, kw_only=True)
class QueueLost:
    """Reported when a batch's queue or its consumer is gone (deleted, or the broker came back without it)."""

    batch: UUID


OnDelivery = Callable[[Delivery], None]
OnLost = Callable[[QueueLost], None]


class NodeBus(Protocol):
    """A node's connections: one to publish, one to consume (an alarm blocks the publishing one)."""

    async def connect(self) -> None:
        """Connect and declare the topology. Raises BusError when the broker cannot be reached within 5 s.

        Afterwards it reconnects by itself; calls made meanwhile raise BusError.
        """

    async def close(self) -> None:
        """Close everything within 2 s. Never raises."""

    async def declare_batch(self, batch: UUID) -> None:
        """Declare and bind the batch's queue (durable, classic; idempotent). Raises BusError."""

    async def consume_batch(self, batch: UUID, on_delivery: OnDelivery, on_lost: OnLost) -> BatchChannel:
        """Declare the batch's queue and consume it, on a channel of its own, at most 200 unacknowledged.

        ``on_delivery`` is a plain function called on the loop. ``on_lost`` is called when the queue or the consumer
        turned out gone, after it was declared again where that was possible. Raises BusError.
        """

    async def delete_batch(self, batch: UUID) -> bool:
        """Delete the batch's queue if it is empty. False if it holds messages (read them, then try again)."""

    async def drain_batch(self, batch: UUID) -> Sequence[Delivery]:
        """Up to 200 messages left in a batch's queue, fetched one by one; empty if there is no such queue."""

    async def tell(self, process: str, body: bytes) -> bool:
        """Publish to one mailbox, confirmed. False if no such mailbox exists. Raises BusError."""

    async def tell_all(self, body: bytes) -> None:
        """Publish to every mailbox (there may be none), confirmed. Raises BusError."""

    async def recover(self, alias: str, body: bytes) -> None:
        """Publish to the durable recovery queue of ``alias``, declaring it, confirmed. Raises BusError."""

    async def put_back(self, batch: UUID, body: bytes) -> None:
        """Publish a stray to its batch's queue, which is declared first, confirmed. Raises BusError."""

    async def consume_strays(self, on_delivery: Callable[[Delivery], Awaitable[None]]) -> None:
        """Consume ``coordination.strays`` from now on, also after reconnecting. Raises BusError."""

    async def mailbox_is_read(self, process: str) -> bool:
        """Whether that process's mailbox exists and has a consumer. Raises BusError."""


class AgentBus(Protocol):
    """A worker process's connections, driven by threads of its own."""

    def start(
        self, on_message: Callable[[bytes, Callable[[], None]], None], *, on_connected: Callable[[], None]
    ) -> None:
        """Start the threads and return at once; connecting goes on in them, for ever, with back-off to 2 s.

        They bind the mailbox (under the process id, and under ``all``) and consume it and the recovery queues of
        the aliases given to the adapter. ``on_message(body, acknowledge)`` runs in the consuming thread;
        ``acknowledge`` may be called from any thread, later. ``on_connected`` runs each time the mailbox is bound.
        """

    def wait_connected(self, timeout: float) -> bool:
        """Whether the mailbox was bound within ``timeout`` seconds: before that no ``started`` may leave."""

    def publish(self, messages: Sequence[tuple[UUID, int, bytes]]) -> None:
        """Publish ``(batch, branch, body)`` to the votes exchange, persistent, and wait for all confirms (5 s).

        Called by one thread only. A message whose batch queue is gone goes to the strays and counts as taken.
        Raises BusError; some may have arrived.
        """

    def close(self, *, delete_mailbox: bool) -> None:
        """Stop the threads and close within 2 s; ``delete_mailbox`` on a clean stop. Never raises."""
