"""A node's bus within one process."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from uuid import UUID

from . import local
from .local import Consumer, Exchange, Parcel
from .port import BatchChannel, BusError, Delivery, OnDelivery, OnLost, QueueLost
from .stray_reader import StrayReader

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 60.0
SLICE_SECONDS = 0.01
"""Deliveries are handed out for so long at a time: then others on the loop have their turn."""


class LocalNodeBus:
    """:class:`~.port.NodeBus` over an :class:`~.local.Exchange`. Each bus is used on one loop."""

    def __init__(self, url: str, *, installation: str) -> None:
        self._shared = local.exchange(url, installation)
        self._open = False
        self._readers: set[_Reader] = set()
        self._stray_reader: StrayReader | None = None
        self._drains: dict[UUID, tuple[Consumer, asyncio.TimerHandle]] = {}

    async def connect(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False
        if self._stray_reader is not None:
            await self._stray_reader.close()
        readers, self._readers = self._readers, set()
        for reader in readers:
            reader.close()
        for batch in list(self._drains):
            self._give_back(batch)

    async def declare_batch(self, batch: UUID) -> None:
        self._exchange().declare(local.batch_queue(batch))

    async def consume_batch(
        self, batch: UUID, on_delivery: OnDelivery, on_lost: OnLost, *, priority: int = 0
    ) -> BatchChannel:
        reader = _Reader(self._exchange(), on_delivery, lambda: on_lost(QueueLost(batch=batch)))
        created = reader.start(local.batch_queue(batch), priority)
        self._readers.add(reader)
        return _BatchChannel(reader, self._readers, created)

    async def delete_batch(self, batch: UUID) -> bool:
        exchange = self._exchange()
        self._give_back(batch)
        return exchange.delete(local.batch_queue(batch), if_empty=True)

    async def drain_batch(self, batch: UUID) -> Sequence[Delivery]:
        exchange = self._exchange()
        self._give_back(batch)
        consumer, parcels = exchange.fetch(local.batch_queue(batch))
        if parcels:
            timer = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._give_back, batch)
            self._drains[batch] = consumer, timer
        return [LocalDelivery(exchange, consumer, parcel) for parcel in parcels]

    async def tell(self, process: str, body: bytes) -> bool:
        return self._exchange().publish([(local.mailbox(process), body)])

    async def tell_all(self, body: bytes) -> None:
        self._exchange().publish_to_mailboxes(body)

    async def recover(self, alias: str, body: bytes) -> None:
        exchange, queue = self._exchange(), local.recovery_queue(alias)
        exchange.declare(queue)
        exchange.publish([(queue, body)])

    async def put_back(self, batch: UUID, body: bytes) -> None:
        if not self._exchange().publish([(local.batch_queue(batch), body)]):
            raise BusError("the batch has no queue; its manager makes it")

    async def set_aside(self, body: bytes, why: str) -> None:
        self._exchange()

    async def consume_strays(self, on_delivery: Callable[[Delivery], Awaitable[None]]) -> None:
        exchange = self._exchange()
        self._stray_reader = StrayReader(on_delivery)
        reader = _Reader(exchange, self._stray_reader, None)
        reader.start(local.STRAYS)
        self._readers.add(reader)

    async def mailbox_is_read(self, process: str) -> bool:
        return self._exchange().is_read(local.mailbox(process))

    async def trouble(self) -> str:
        return ""

    def _exchange(self) -> Exchange:
        if not self._open:
            raise BusError("the bus is closed")
        return self._shared

    def _give_back(self, batch: UUID) -> None:
        if drain := self._drains.pop(batch, None):
            consumer, timer = drain
            timer.cancel()
            self._shared.close(consumer)


class LocalDelivery:
    """One message. Acknowledging it a second time does nothing."""

    __slots__ = ("_consumer", "_exchange", "_parcel", "body")

    def __init__(self, exchange: Exchange, consumer: Consumer, parcel: Parcel) -> None:
        self.body = parcel.body
        self._exchange, self._consumer, self._parcel = exchange, consumer, parcel

    async def acknowledge(self) -> None:
        """It may be forgotten. Never raises."""
        self._exchange.acknowledge(self._consumer, self._parcel)

    async def put_back(self) -> None:
        """It is to be delivered again, to whoever consumes. Never raises."""
        self._exchange.put_back(self._consumer, self._parcel)


class _Reader:
    """Brings what a queue has for us onto the loop, and hands it out there."""

    def __init__(
        self, exchange: Exchange, on_delivery: Callable[[LocalDelivery], None], on_lost: Callable[[], None] | None
    ) -> None:
        self._exchange = exchange
        self._on_delivery = on_delivery
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[LocalDelivery] = deque()
        self._scheduled = False
        self._closed = False
        self._consumer: Consumer | None = None

    def start(self, queue: local.QueueName, priority: int = 0) -> bool:
        """Declare the queue and consume it; whether it had to be made."""
        self._queue = queue
        on_lost = self._lost if self._on_lost else None
        self._consumer, made = self._exchange.consume(queue, self._receive, on_lost, priority=priority)
        return made

    def close(self) -> None:
        """Stop; what was not acknowledged goes back."""
        self._closed = True
        self._inbox.clear()
        if self._consumer is not None:
            self._exchange.close(self._consumer)

    def waiting(self) -> int:
        """Messages in the queue that nobody was given."""
        return self._exchange.waiting(self._queue)

    def _receive(self, consumer: Consumer, parcel: Parcel) -> bool:
        """In any thread, under the exchange's lock. One turn of the loop takes all that came before it."""
        self._inbox.append(LocalDelivery(self._exchange, consumer, parcel))
        if self._scheduled:
            return True
        self._scheduled = True
        return self._call(self._hand_out)

    def _lost(self) -> None:
        self._call(self._report_lost)

    def _call(self, function: Callable[[], None]) -> bool:
        """Have it called on the loop; False if the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            return False
        return True

    def _hand_out(self) -> None:
        self._scheduled = False
        until = monotonic() + SLICE_SECONDS
        while self._inbox and not self._closed:
            delivery = self._inbox.popleft()
            try:
                self._on_delivery(delivery)
            except Exception:
                logger.exception("A message of queue %s was not taken; it stays unacknowledged.", " ".join(self._queue))
            if self._inbox and monotonic() > until:
                self._scheduled = True
                self._loop.call_soon(self._hand_out)
                return

    def _report_lost(self) -> None:
        if self._closed or self._on_lost is None:
            return
        self.close()
        self._on_lost()


class _BatchChannel:
    """What a manager holds of its batch's consumer."""

    def __init__(self, reader: _Reader, readers: set[_Reader], created: bool) -> None:
        self.created = created
        self._reader = reader
        self._readers = readers

    async def close(self) -> None:
        self._readers.discard(self._reader)
        self._reader.close()

    async def waiting(self) -> int:
        return self._reader.waiting()
