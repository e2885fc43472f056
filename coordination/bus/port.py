"""The ports to the bus: :class:`NodeBus` for a node (asyncio), :class:`AgentBus` for a worker process (threads), and
:class:`TaskPublisher` to Celery's broker, for a node's dispatching thread.

RabbitMQ is behind :mod:`.node_amqp`, :mod:`.agent_amqp` and :mod:`.dispatch_amqp`; names of exchanges and queues are in
:mod:`.topology`. Queues of this process are behind :mod:`.local_node`, :mod:`.local_agent` and :mod:`.local_dispatch`.
One contract suite (``tests/contract``) holds every adapter to what is said here. Bodies are opaque bytes: encoding
is :mod:`coordination.protocol.encoding`'s.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import kombu

BLOCKED = "the broker takes no messages: an alarm on its memory or disk (rabbitmqctl status says which)"
"""What a BusError says when the broker holds publishing back."""
ALARM = "an alarm on its memory or disk holds messages back (rabbitmqctl status says which)"
UNREACHABLE = "it cannot be reached"
SILENT = "it does not answer"
"""What people read of a broker in such a state: see ``NodeBus.trouble``."""


class BusError(Exception):
    """The broker cannot be reached or did not confirm in time. Nothing is known to have arrived; try again."""


class Delivery(Protocol):
    """One message from a queue, unacknowledged until told otherwise."""

    body: bytes

    async def acknowledge(self) -> None:
        """It may be forgotten. Never raises: on a closed channel the broker delivers it again by itself."""


class BatchChannel(Protocol):
    """Consumer of one batch's queue, on an AMQP channel of its own."""

    @property
    def created(self) -> bool:
        """Whether the queue had to be made. Of a batch whose tasks were sent: the broker has lost what it held."""

    async def close(self) -> None:
        """Stop consuming, within 2 s; what was not acknowledged goes back to the queue. Never raises."""

    async def waiting(self) -> int:
        """Messages in the queue that nobody has been given yet. Raises BusError."""


@dataclass(frozen=True, kw_only=True)
class QueueLost:
    """Reported when a batch's queue is gone, and what it held with it: deleted, or the broker came back without it.

    A lost connection, channel or consumer is not reported: they come back by themselves, and nothing is lost.
    """

    batch: UUID


OnDelivery = Callable[[Delivery], None]
OnLost = Callable[[QueueLost], None]


class NodeBus(Protocol):
    """A node's connections: one to publish, one to consume (an alarm blocks the publishing one)."""

    async def connect(self) -> None:
        """Connect and declare the topology. Raises BusError when the broker cannot be reached within 5 s.

        Afterwards it reconnects by itself, within 2 s of the broker's return; calls made meanwhile raise BusError. No
        call takes longer than 15 s.
        """

    async def close(self) -> None:
        """Close everything within 2 s. Never raises."""

    async def declare_batch(self, batch: UUID) -> None:
        """Declare and bind the batch's queue (durable, classic; idempotent). Raises BusError."""

    async def consume_batch(
        self, batch: UUID, on_delivery: OnDelivery, on_lost: OnLost, *, priority: int = 0
    ) -> BatchChannel:
        """Declare the batch's queue and consume it, on a channel of its own, at most 200 unacknowledged.

        Of several who consume it, messages go to the one with the highest ``priority`` that can take them: a node that
        was stopped, and is not known to be gone yet, must not swallow half of what its successor waits for.

        ``on_delivery`` is a plain function called on the loop. ``on_lost`` is called there, once, when the queue turned
        out gone; that ends this consumer. The queue is not declared again by itself: a node that slept while another
        finished the batch would leave one behind for ever. Make sure that the batch is still yours, then call this
        again. Raises BusError, and then consumes nothing.
        """

    async def delete_batch(self, batch: UUID) -> bool:
        """Delete the batch's queue if it is empty. False if it holds messages (read them, then try again).

        Close the batch's channel first: what a consumer has not acknowledged does not count as held. True also if
        there is no such queue. Raises BusError.
        """

    async def drain_batch(self, batch: UUID) -> Sequence[Delivery]:
        """Up to 200 messages left in a batch's queue, fetched one by one; empty if there is no such queue.

        What is not acknowledged within 60 s, or by the next ``drain_batch`` of this batch, goes back to the queue.
        Raises BusError.
        """

    async def tell(self, process: str, body: bytes) -> bool:
        """Publish to one mailbox, confirmed. False if no such mailbox exists. Raises BusError.

        What is said to mailboxes may be lost with the broker: whoever says it repeats it until it is carried out.
        """

    async def tell_all(self, body: bytes) -> None:
        """Publish to every mailbox (there may be none), confirmed. Raises BusError."""

    async def recover(self, alias: str, body: bytes) -> None:
        """Publish to the durable recovery queue of ``alias``, declaring it, persistent, confirmed. Raises BusError."""

    async def put_back(self, batch: UUID, body: bytes) -> None:
        """Publish a stray to its batch's queue, persistent, confirmed. Raises BusError, also if there is none.

        It is not made here: whoever manages the batch must find out that it was lost (``BatchChannel.created``).
        """

    async def set_aside(self, body: bytes, why: str) -> None:
        """Keep the beginning of a message that nobody understands for people to look at, persistent, confirmed.

        Bounded in number and size; the oldest go first. The bus within one process, which carries nobody else's
        messages, keeps none. Raises BusError.
        """

    async def consume_strays(self, on_delivery: Callable[[Delivery], Awaitable[None]]) -> None:
        """Consume the strays from now on, also after reconnecting, several at a time. Raises BusError.

        If ``on_delivery`` raises, that is logged and the stray goes back to its queue after a second.
        """

    async def mailbox_is_read(self, process: str) -> bool:
        """Whether that process's mailbox exists and has a consumer. Raises BusError."""

    async def trouble(self) -> str:
        """Why the broker takes nothing from this node now, in words for people; empty while all is well.

        Found out by publishing something to nobody: a broker tells of an alarm only those who publish. Answers within
        3 s. Never raises.
        """


class AgentBus(Protocol):
    """A worker process's connections, driven by threads of its own."""

    def start(
        self, on_message: Callable[[bytes, Callable[[], None]], None], *, on_connected: Callable[[], None]
    ) -> None:
        """Start the threads and return at once; connecting goes on in them, for ever, with back-off to 2 s.

        They bind the mailbox (under the process id, and under ``all``) and consume it and the recovery queues of
        the aliases given to the adapter. ``on_message(body, acknowledge)`` runs in the consuming thread;
        ``acknowledge`` may be called from any thread, later. ``on_connected`` runs there each time the mailbox is
        bound. A message whose ``on_message`` raises is logged and dropped: what matters is said again.
        """

    def wait_connected(self, timeout: float) -> bool:
        """Whether the mailbox was bound within ``timeout`` seconds: before that no ``started`` may leave."""

    def publish(self, messages: Sequence[tuple[UUID, int, bytes]]) -> None:
        """Publish ``(batch, branch, body)`` to the votes exchange, persistent, and wait until all are confirmed.

        Called by one thread only, which connects if need be. A message whose batch queue is gone goes to the strays
        and counts as taken. Raises BusError, after at most 5 s without a sign of the broker; some may have arrived.
        """

    def tick(self) -> None:
        """Keep the publishing connection alive: its thread calls this each second or two while idle. Never raises."""

    def close(self, *, delete_mailbox: bool) -> None:
        """Stop the threads and close within 2 s; ``delete_mailbox`` on a clean stop. Never raises.

        A ``publish`` still under way in another thread ends with BusError.
        """


TaskMessage = tuple[Mapping[str, Any], Mapping[str, Any], bytes | str]
"""Headers, AMQP properties (``content_type``, ``delivery_mode``, ``correlation_id``, ``expiration`` …), body."""


class TaskPublisher(Protocol):
    """Publishes Celery's task messages, from one thread."""

    def publish(self, queue: kombu.Queue, exchange: str, routing_key: str, messages: Iterable[TaskMessage]) -> None:
        """Publish to ``exchange`` and wait until every message is confirmed.

        ``queue`` (of Celery's ``app.amqp.queues``) is declared first, exactly as its workers declare it. Raises
        BusError; some may have arrived.
        """

    def readers(self, queue: str) -> int | None:
        """How many workers read ``queue``: 0 also if there is no such queue, None if the broker cannot tell.

        Raises BusError.
        """

    def tick(self) -> None:
        """Keep the connection alive: its thread calls this each second or two while idle. Never raises."""

    def close(self) -> None:
        """Close, by the thread that publishes. Never raises."""
