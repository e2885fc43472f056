"""RabbitMQ as a node sees it, with aio-pika."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, HeadersType
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, PublishError

from . import address
from .node_consumer import PREFETCH, AmqpDelivery, QueueConsumer
from .node_link import CALL_TIMEOUT, Link, as_bus_error, close_channel
from .port import ALARM, BLOCKED, SILENT, UNREACHABLE, BatchChannel, BusError, Delivery, OnDelivery, OnLost, QueueLost
from .stray_reader import StrayReader
from .topology import ALL, BATCH_ARGUMENTS, POISON_ARGUMENTS, POISON_BYTES, Topology, batch_binding

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 60.0
PROBE_SECONDS = 2.0
"""How long the broker may take to say that it takes messages."""
NOBODY = "nobody"
"""A key that no mailbox is bound under."""


class AmqpNodeBus:
    """:class:`~.port.NodeBus` over RabbitMQ: two connections, and a channel a batch on the second.

    Questions and declarations go over the consuming connection too, which an alarm does not block.
    """

    def __init__(self, url: str, *, installation: str) -> None:
        """Raises BadBrokerUrl."""
        where = address.read(url)
        self._names = Topology(installation)
        self._publishing = Link(where, "coordination node, publishing", probe=False)
        self._consuming = Link(where, "coordination node, consuming", probe=True)
        self._publisher: AbstractChannel | None = None
        self._publisher_lock = asyncio.Lock()
        self._publisher_of: object = None
        self._recovery_declared: set[str] = set()
        self._consumers: set[QueueConsumer] = set()
        self._stray_reader: StrayReader | None = None
        self._drains: dict[UUID, _Drain] = {}

    async def connect(self) -> None:
        await asyncio.gather(self._publishing.connect(), self._consuming.connect())
        async with self._consuming.channel("declaring the exchanges") as channel:
            await self._declare_topology(channel)
        await self._publishing_channel()

    async def close(self) -> None:
        if self._stray_reader is not None:
            await self._stray_reader.close()
        consumers, self._consumers = self._consumers, set()
        for drain in self._drains.values():
            drain.forget()
        # Closing the connections ends all channels at once.
        await asyncio.gather(self._publishing.close(), self._consuming.close())
        await asyncio.gather(*(consumer.close() for consumer in consumers), return_exceptions=True)

    async def declare_batch(self, batch: UUID) -> None:
        async with self._consuming.channel("declaring a batch's queue") as channel:
            await self._declare_batch(channel, batch)

    async def consume_batch(
        self, batch: UUID, on_delivery: OnDelivery, on_lost: OnLost, *, priority: int = 0
    ) -> BatchChannel:
        consumer = QueueConsumer(
            self._consuming,
            self._names.batch_queue(batch),
            declare=lambda channel: self._declare_batch(channel, batch),
            on_delivery=on_delivery,
            on_lost=lambda: on_lost(QueueLost(batch=batch)),
            priority=priority,
        )
        async with self._consuming.opening:
            await consumer.start()
        self._consumers.add(consumer)
        return _BatchChannel(consumer, self._consumers)

    async def delete_batch(self, batch: UUID) -> bool:
        if drain := self._drains.pop(batch, None):
            await drain.close()
        async with self._consuming.channel("deleting a batch's queue") as channel:
            try:
                raw = await channel.get_underlay_channel()
                await raw.queue_delete(self._names.batch_queue(batch), if_empty=True)
            except ChannelPreconditionFailed:
                return False
            return True

    async def drain_batch(self, batch: UUID) -> Sequence[Delivery]:
        if last := self._drains.pop(batch, None):
            await last.close()
        channel = await self._consuming.open_channel()
        drain = _Drain(channel)
        try:
            with as_bus_error("reading a batch's queue"):
                async with asyncio.timeout(CALL_TIMEOUT):
                    await drain.fetch(self._names.batch_queue(batch))
        except BaseException:
            await drain.close()
            raise
        if drain.deliveries:
            self._drains[batch] = drain
            drain.on_close(lambda: self._drains.pop(batch, None) if self._drains.get(batch) is drain else None)
        else:
            await drain.close()
        return drain.deliveries

    async def tell(self, process: str, body: bytes) -> bool:
        return await self._publish(self._names.decisions, process, body, persistent=False)

    async def tell_all(self, body: bytes) -> None:
        await self._publish(self._names.decisions, ALL, body, persistent=False)

    async def recover(self, alias: str, body: bytes) -> None:
        queue = self._names.recovery_queue(alias)
        if queue not in self._recovery_declared:
            await self._declare_recovery(queue)
        if not await self._publish("", queue, body, persistent=True):
            await self._declare_recovery(queue)
            if not await self._publish("", queue, body, persistent=True):
                raise BusError(f"queue {queue} vanished twice")

    async def put_back(self, batch: UUID, body: bytes) -> None:
        if not await self._publish("", self._names.batch_queue(batch), body, persistent=True):
            raise BusError("the batch has no queue; its manager makes it")

    async def set_aside(self, body: bytes, why: str) -> None:
        async with self._consuming.channel("declaring the queue of poison") as channel:
            await channel.declare_queue(self._names.poison, durable=True, arguments=POISON_ARGUMENTS)
        headers: HeadersType = {"why": why[:500], "bytes": len(body)}
        if not await self._publish("", self._names.poison, body[:POISON_BYTES], persistent=True, headers=headers):
            raise BusError(f"queue {self._names.poison} vanished")

    async def consume_strays(self, on_delivery: Callable[[Delivery], Awaitable[None]]) -> None:
        reader = StrayReader(on_delivery)
        consumer = QueueConsumer(
            self._consuming,
            self._names.strays,
            declare=self._declare_topology,
            on_delivery=reader,
        )
        await consumer.start()
        self._stray_reader = reader
        self._consumers.add(consumer)

    async def mailbox_is_read(self, process: str) -> bool:
        async with self._consuming.channel("asking for a mailbox") as channel:
            try:
                queue = await channel.declare_queue(self._names.mailbox(process), passive=True)
            except ChannelNotFoundEntity:
                return False
            return bool(queue.declaration_result.consumer_count)

    async def trouble(self) -> str:
        try:
            self._publishing.generation  # noqa: B018 - raises while there is no connection
            if await self._publishing.blocked():
                return ALARM
            with as_bus_error("asking whether messages are taken"):
                async with asyncio.timeout(PROBE_SECONDS):
                    channel = await self._publishing_channel()
                    mailboxes = await channel.get_exchange(self._names.decisions, ensure=False)
                    await mailboxes.publish(Message(b""), NOBODY, mandatory=False)
        except BusError as error:
            if not isinstance(error.__cause__, TimeoutError):
                return UNREACHABLE
            return ALARM if await self._publishing.blocked() else SILENT
        return ""

    async def _declare_topology(self, channel: AbstractChannel) -> None:
        for name, kind, arguments in self._names.exchanges:
            await channel.declare_exchange(name, kind, durable=True, arguments=arguments or None)
        strays = await channel.declare_queue(self._names.strays, durable=True)
        await strays.bind(self._names.strays)

    async def _declare_batch(self, channel: AbstractChannel, batch: UUID) -> None:
        queue = await channel.declare_queue(self._names.batch_queue(batch), durable=True, arguments=BATCH_ARGUMENTS)
        await queue.bind(self._names.votes, batch_binding(batch))

    async def _declare_recovery(self, queue: str) -> None:
        async with self._consuming.channel("declaring a recovery queue") as channel:
            await channel.declare_queue(queue, durable=True)
        self._recovery_declared.add(queue)

    async def _publish(
        self, exchange: str, key: str, body: bytes, *, persistent: bool, headers: HeadersType | None = None
    ) -> bool:
        """False if the message reached no queue. Raises BusError if it was not confirmed in time."""
        channel = await self._publishing_channel()
        generation = self._publishing.generation
        mode = DeliveryMode.PERSISTENT if persistent else DeliveryMode.NOT_PERSISTENT
        message = Message(body, delivery_mode=mode, headers=headers)
        try:
            with as_bus_error("publishing"):
                target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
                try:
                    await target.publish(message, key, mandatory=True, timeout=CALL_TIMEOUT)
                except PublishError:
                    return False
        except BusError as error:
            if isinstance(error.__cause__, TimeoutError):
                if await self._publishing.blocked():
                    raise BusError(BLOCKED) from error
                self._publishing.suspect(generation)
            raise
        return True

    async def _publishing_channel(self) -> AbstractChannel:
        """The channel all is published on; when it is opened anew the exchanges are declared, for they may be gone."""
        generation = self._publishing.generation
        with as_bus_error("opening the publishing channel"):
            async with asyncio.timeout(CALL_TIMEOUT), self._publisher_lock:
                if self._publisher is None or self._publisher.is_closed or self._publisher_of is not generation:
                    async with self._consuming.channel("declaring the exchanges") as channel:
                        await self._declare_topology(channel)
                    self._publisher = await self._publishing.open_channel(confirms=True)
                    self._publisher_of = generation
                return self._publisher


class _BatchChannel:
    """What a manager holds of its batch's consumer."""

    def __init__(self, consumer: QueueConsumer, consumers: set[QueueConsumer]) -> None:
        self._consumer = consumer
        self._consumers = consumers

    @property
    def created(self) -> bool:
        return self._consumer.created

    async def close(self) -> None:
        self._consumers.discard(self._consumer)
        await self._consumer.close()

    async def waiting(self) -> int:
        return await self._consumer.waiting()


class _Drain:
    """Messages fetched from a queue, and the channel that must stay open until they are acknowledged."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.deliveries: list[AmqpDelivery] = []
        self._channel = channel
        self._open = 0
        self._closing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed: Callable[[], object] = lambda: None

    async def fetch(self, queue_name: str) -> None:
        """Fetch up to 200 messages. There may be no such queue."""
        queue = await self._channel.get_queue(queue_name, ensure=False)
        try:
            while len(self.deliveries) < PREFETCH:
                message: AbstractIncomingMessage | None = await queue.get(fail=False)
                if message is None:
                    break
                self.deliveries.append(AmqpDelivery(message, self._one_done))
        except ChannelNotFoundEntity:
            self.deliveries.clear()
        self._open = len(self.deliveries)

    def on_close(self, closed: Callable[[], object]) -> None:
        """Call ``closed`` in the end, which comes after 60 s at the latest."""
        self._closed = closed
        self._timer = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._close_soon)

    async def close(self) -> None:
        """Give back what was not acknowledged."""
        self.forget()
        await close_channel(self._channel)

    def forget(self) -> None:
        """The connection is being closed, and the channel with it."""
        if self._timer is not None:
            self._timer.cancel()

    def _one_done(self) -> None:
        self._open -= 1
        if not self._open:
            self._close_soon()

    def _close_soon(self) -> None:
        self._closed()
        self._closing = asyncio.create_task(self.close())
