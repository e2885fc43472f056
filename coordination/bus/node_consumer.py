"""A consumer on a channel of its own, which comes back whatever becomes of channel, connection or queue."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import ChannelNotFoundEntity

from .node_link import CALL_TIMEOUT, KEEPER_SECONDS, RETRY_FIRST, RETRY_MOST, Link, as_bus_error, close_channel
from .port import BusError

logger = logging.getLogger(__name__)

PREFETCH = 200


class AmqpDelivery:
    """One message. Acknowledging it a second time does nothing."""

    __slots__ = ("_done", "_message", "body")

    def __init__(self, message: AbstractIncomingMessage, done: Callable[[], None] | None = None) -> None:
        self.body = message.body
        self._message = message
        self._done = done

    async def acknowledge(self) -> None:
        """It may be forgotten. Never raises."""
        if not self._message.processed:
            await _quietly(self._message.ack())
        if self._done is not None:
            done, self._done = self._done, None
            done()

    async def put_back(self) -> None:
        """It is to be delivered again, to whoever consumes. Never raises."""
        if not self._message.processed:
            await _quietly(self._message.reject(requeue=True))


class QueueConsumer:
    """Consumes one queue until closed."""

    def __init__(
        self,
        link: Link,
        queue: str,
        *,
        declare: Callable[[AbstractChannel], Awaitable[None]],
        on_delivery: Callable[[AmqpDelivery], None],
        on_lost: Callable[[], None] | None = None,
        priority: int = 0,
    ) -> None:
        """``on_lost`` is told once that the queue is gone, and that ends the consumer; without it the queue is made
        again.
        """
        self.created = False
        """Whether the queue was not there when we came, as far as anyone cares: of one with an ``on_lost``."""
        self._link = link
        self._queue = queue
        self._declare = declare
        self._on_delivery = on_delivery
        self._on_lost = on_lost
        self._priority = priority
        self._channel: AbstractChannel | None = None
        self._gone = asyncio.Event()
        self._lost = False
        self._closed = False
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Declare and consume, and go on doing so. Raises BusError, and then consumes nothing."""
        # The broker's answer to a declaration does not tell whether it made the queue.
        self.created = self._on_lost is not None and not await self._exists()
        await self._open()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Stop; what was not acknowledged goes back. Never raises."""
        self._closed = True
        self._gone.set()  # As for the link: this ends a keeper whose cancellation the client has swallowed.
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=KEEPER_SECONDS)
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await close_channel(channel)

    async def waiting(self) -> int:
        """Messages in the queue that nobody has been given; 0 if there is no queue. Raises BusError."""
        async with self._link.channel("asking for a queue's length") as channel:
            try:
                queue = await channel.declare_queue(self._queue, passive=True)
            except ChannelNotFoundEntity:
                return 0
            return queue.declaration_result.message_count or 0

    async def _keep(self) -> None:
        delay = RETRY_FIRST
        while True:
            await self._gone.wait()
            if self._closed:
                return
            if self._channel is not None:
                channel, self._channel = self._channel, None
                await close_channel(channel)
            await self._link.wait_up()
            try:
                async with self._link.opening:
                    if self._on_lost is not None and (self._lost or not await self._exists()):
                        logger.warning("Queue %s is gone.", self._queue)
                        self._on_lost()
                        return
                    await self._open()
                delay = RETRY_FIRST
            except BusError as error:
                logger.debug("Queue %s cannot be consumed yet: %s.", self._queue, error)
                await asyncio.sleep(delay)
                delay = min(delay * 1.5, RETRY_MOST)

    async def _open(self) -> None:
        channel = await self._link.open_channel()
        gone = asyncio.Event()
        try:
            with as_bus_error(f"consuming queue {self._queue}"):
                async with asyncio.timeout(CALL_TIMEOUT):
                    await self._declare(channel)
                    await channel.set_qos(prefetch_count=PREFETCH)
                    raw = await channel.get_underlay_channel()
                    raw.on_consumer_cancel_callbacks.add(lambda _: self._cancelled(gone))
                    raw.closing.add_done_callback(lambda _: gone.set())
                    queue = await channel.get_queue(self._queue, ensure=False)
                    await queue.consume(self._deliver, arguments={"x-priority": self._priority})
        except BaseException:
            await close_channel(channel)
            raise
        self._channel, self._gone = channel, gone

    async def _exists(self) -> bool:
        async with self._link.channel("looking for a queue") as channel:
            try:
                await channel.declare_queue(self._queue, passive=True)
            except ChannelNotFoundEntity:
                return False
            return True

    def _cancelled(self, gone: asyncio.Event) -> None:
        """The broker took the consumer away: somebody deleted the queue."""
        self._lost = True
        gone.set()

    async def _deliver(self, message: AbstractIncomingMessage) -> None:
        if self._closed:
            return
        try:
            self._on_delivery(AmqpDelivery(message))
        except Exception:
            logger.exception("A message of queue %s was not taken; it stays unacknowledged.", self._queue)


async def _quietly(call: Awaitable[object]) -> None:
    """Await, without regard to a closed channel: the broker delivers the message again by itself."""
    with contextlib.suppress(BusError):
        with as_bus_error("acknowledging"):
            async with asyncio.timeout(CALL_TIMEOUT):
                await call
