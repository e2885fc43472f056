"""One connection of a node to RabbitMQ, kept up.

aio-pika's robust connection declares things again by itself, but can come back without a consumer and cannot tell that
a queue had been deleted; so the plain one is used, and what must be there again is said here. Every call is bounded,
and every failure is a :class:`BusError`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator

import aio_pika
import aiormq
import aiormq.abc
from aio_pika.abc import AbstractChannel
from aio_pika.connection import make_url
from aio_pika.exceptions import AMQPError

from .address import Address
from .port import BusError

logger = logging.getLogger(__name__)

CALL_TIMEOUT = 5.0
HEARTBEAT = 10
RETRY_FIRST, RETRY_MOST = 0.2, 2.0
PROBE_EVERY = 3.0
"""A connection that is cut without a word is noticed within this and ``CALL_TIMEOUT``; by heartbeats it takes 33 s."""
KEEPER_SECONDS = 0.5
"""How long a close waits for the task that keeps the connection up."""
CHANNELS_SPARED = 16
"""Channels of the broker's limit that are left for short questions."""

CLIENT_ERRORS = (AMQPError, OSError, RuntimeError, EOFError)
"""What the client raises for a broker that is gone, slow or unwilling; a timeout is an OSError."""

# No bound on the frames that wait to be written: when there is one and it is reached, the client drops its answer to a
# broker that closes a channel (that is how the broker says "no such queue"), and the broker then ends the connection
# when the channel's number is used again. Little waits there in any case, for whoever writes waits for an answer.
aiormq.Connection.FRAME_BUFFER_SIZE = 0


@contextlib.contextmanager
def as_bus_error(what: str) -> Iterator[None]:
    """Turn the client's failures into :class:`BusError`.

    A connection that died without a word cancels whoever waits on it. That is told from our own cancellation by the
    task's own count. The client also does the reverse: cancelled while a connection fails, it says only that.
    """
    task = asyncio.current_task()
    try:
        yield
    except asyncio.CancelledError:
        if task is not None and task.cancelling():
            raise
        raise BusError(f"{what}: the connection to the broker was lost") from None
    except CLIENT_ERRORS as error:
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        raise BusError(f"{what}: {str(error) or type(error).__name__}") from error


class Link:
    """A connection that comes back by itself, and its channels."""

    def __init__(self, address: Address, name: str, *, probe: bool) -> None:
        """``name`` is shown by the broker's own tools. ``probe`` asks the broker something each 3 s.

        A publishing connection is not probed: while an alarm blocks it, it is silent and well.
        """
        self.opening = asyncio.Semaphore(16)
        """Taken by consumers that come back, lest hundreds at once make each other late."""
        self._address = address
        self._name = name
        self._probe = probe
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._numbers: set[int] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closers: set[asyncio.Task[None]] = set()
        self._closed = False

    async def connect(self) -> None:
        """Connect, and keep connected from now on. Raises BusError."""
        if self._keeper is None:
            await self._open()
            self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Close within 2.5 s. Never raises."""
        self._closed = True
        self._lost.set()  # The client may swallow the cancellation; then this ends the keeper.
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=KEEPER_SECONDS)
        self._drop()
        if self._closers:
            _, late = await asyncio.wait(self._closers, timeout=1.5)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=0.3)

    async def wait_up(self) -> None:
        """Wait until the connection stands."""
        await self._up.wait()

    @property
    def generation(self) -> object:
        """What stands for the present connection; another one after each reconnection. Raises BusError while down."""
        return self._raw()

    async def open_channel(self, *, confirms: bool = False, lasting: bool = True) -> AbstractChannel:
        """A new channel, ``lasting`` or for one question. Raises BusError."""
        raw = self._raw()
        connection = self._connection
        assert connection is not None
        number = self._free_number(raw, spared=CHANNELS_SPARED if lasting else 0)
        numbers = self._numbers
        numbers.add(number)
        try:
            with as_bus_error("opening a channel"):
                channel = connection.channel(number, publisher_confirms=confirms, on_return_raises=confirms)
                try:
                    async with asyncio.timeout(CALL_TIMEOUT):
                        await channel.initialize()
                        opened = await channel.get_underlay_channel()
                except TimeoutError:
                    self.suspect(raw)
                    raise
        except BaseException:
            numbers.discard(number)
            raise
        opened.closing.add_done_callback(lambda _: numbers.discard(number))
        return channel

    @contextlib.asynccontextmanager
    async def channel(self, what: str) -> AsyncIterator[AbstractChannel]:
        """A channel for one question: what the broker refuses closes it, and only it. Raises BusError."""
        with as_bus_error(what):
            async with asyncio.timeout(CALL_TIMEOUT):
                channel = await self.open_channel(lasting=False)
                try:
                    yield channel
                finally:
                    await close_channel(channel)

    def suspect(self, generation: object) -> None:
        """Connection ``generation`` does not answer: drop it and connect anew."""
        if self._connection is not None and self._transport(self._connection) is generation:
            self._lost.set()

    async def blocked(self) -> bool:
        """Whether the broker has told this connection to wait (an alarm on memory or disk)."""
        try:
            await asyncio.wait_for(self._raw().ready(), 0.05)
        except TimeoutError:
            return True
        except BusError:
            pass
        return False

    def _raw(self) -> aiormq.abc.AbstractConnection:
        if self._connection is None or self._lost.is_set():
            raise BusError(f"no connection to the broker {self._address}")
        return self._transport(self._connection)

    @staticmethod
    def _transport(connection: aio_pika.abc.AbstractConnection) -> aiormq.abc.AbstractConnection:
        transport = connection.transport
        if transport is None:
            raise BusError("the connection to the broker is closed")
        return transport.connection

    def _free_number(self, raw: aiormq.abc.AbstractConnection, *, spared: int) -> int:
        """The lowest free channel number. The client's own choice grows past the broker's limit in the long run.

        Of a channel that the broker closes, the client forgets the number before it has said that it may be used again:
        ours is kept until then.
        """
        limit = int(raw.connection_tune.channel_max or 65535)
        taken = raw.channels.keys() | self._numbers
        if len(taken) >= limit - spared:
            raise BusError(
                f"the broker allows {limit} channels a connection: raise its channel_max, or start more nodes"
            )
        return next(number for number in range(1, limit + 1) if number not in taken)

    async def _open(self) -> None:
        connection = aio_pika.Connection(
            make_url(self._address.url, heartbeat=HEARTBEAT), client_properties={"connection_name": self._name}
        )
        try:
            with as_bus_error(f"connecting to the broker {self._address}"):
                async with asyncio.timeout(CALL_TIMEOUT):
                    await connection.connect()
        except BaseException:
            await _close_quietly(connection)
            raise
        self._lost.clear()
        lost = self._lost
        self._connection, self._numbers = connection, set()
        raw = self._transport(connection)
        raw.closing.add_done_callback(lambda _: lost.set() if self._connection is connection else None)
        self._up.set()

    def _drop(self) -> None:
        """Close the connection without waiting: one that does not answer takes seconds to give up."""
        self._up.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            task = asyncio.create_task(_close_quietly(connection))
            self._closers.add(task)
            task.add_done_callback(self._closers.discard)

    async def _keep(self) -> None:
        delay, said = RETRY_FIRST, False
        while not self._closed:
            if self._connection is not None:
                await self._watch()
                if self._closed:
                    return
                logger.warning("Connection %s to the broker %s was lost; connecting again.", self._name, self._address)
                self._drop()
            try:
                await self._open()
            except BusError as error:
                if not said:
                    logger.warning("The broker cannot be reached, trying again: %s.", error)
                said = True
                await asyncio.sleep(delay)
                delay = min(delay * 1.5, RETRY_MOST)
            else:
                delay, said = RETRY_FIRST, False
                logger.info("Connection %s to the broker %s is back.", self._name, self._address)

    async def _watch(self) -> None:
        """Return when the connection is lost."""
        while not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_EVERY):
                    await self._lost.wait()
            if self._probe and not self._lost.is_set():
                try:
                    await close_channel(await self.open_channel(lasting=False))
                except BusError:
                    # A lost connection has said so; what is left is a refusal for want of channels.
                    continue


async def close_channel(channel: AbstractChannel) -> None:
    """Close it within 2 s. Never raises."""
    with contextlib.suppress(BusError, TimeoutError):
        with as_bus_error("closing a channel"):
            async with asyncio.timeout(2):
                await channel.close()


async def _close_quietly(connection: aio_pika.abc.AbstractConnection) -> None:
    with contextlib.suppress(BusError):
        with as_bus_error("closing"):
            await connection.close()
