"""RabbitMQ from plain threads, with py-amqp: opening connections, and publishing with confirms.

Nothing here is shared between threads: whoever opens a connection reads and writes it.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import amqp

from .address import Address
from .port import BLOCKED, BusError
from .topology import Topology

CALL_TIMEOUT = 5.0
READ_TIMEOUT = 4.0
"""Below the broker's heartbeats, each 5 s, or these would keep an unanswered call waiting."""
HEARTBEAT = 10
SILENCE = 12.0
"""Seconds without a frame, at two heartbeats of the broker each ten, after which a connection counts as dead."""

Outgoing = tuple[str, str, amqp.Message]
"""Exchange, routing key, message."""

CLIENT_ERRORS = (amqp.AMQPError, OSError, EOFError)
"""What py-amqp raises for a broker that is gone, slow or unwilling."""


@contextlib.contextmanager
def as_bus_error(what: str) -> Iterator[None]:
    """Turn the client's failures into :class:`BusError`."""
    try:
        yield
    except CLIENT_ERRORS as error:
        raise BusError(f"{what}: {str(error) or type(error).__name__}") from error


def open_connection(
    address: Address, name: str, factory: Callable[..., amqp.Connection] = amqp.Connection
) -> amqp.Connection:
    """Connect within 5 s. ``name`` is shown by the broker's own tools. Raises BusError."""
    with as_bus_error(f"connecting to the broker {address}"):
        connection = factory(
            **address.blocking_options(),
            connect_timeout=CALL_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            write_timeout=CALL_TIMEOUT,
            heartbeat=HEARTBEAT,
            client_properties={"connection_name": name},
        )
        try:
            connection.connect()
        except BaseException:
            connection.collect()
            raise
    return connection


def declare_topology(channel: amqp.Channel, names: Topology) -> None:
    """Declare what nodes and agents share."""
    for exchange, kind, arguments in names.exchanges:
        channel.exchange_declare(exchange, kind, durable=True, auto_delete=False, arguments=arguments or None)
    channel.queue_declare(names.strays, durable=True, auto_delete=False)
    channel.queue_bind(names.strays, names.strays)


def shut(connection: amqp.Connection | None) -> None:
    """Cut a connection off, from any thread: whoever reads or writes it gets an error. Never raises."""
    with contextlib.suppress(*CLIENT_ERRORS):
        if connection is not None and connection.connected:
            connection.sock.shutdown(socket.SHUT_RDWR)


def close_quietly(connection: amqp.Connection | None) -> None:
    """Close a connection of this thread. Never raises."""
    if connection is not None:
        with contextlib.suppress(*CLIENT_ERRORS):
            connection.close()
        with contextlib.suppress(*CLIENT_ERRORS):
            connection.collect()


class Liveness:
    """Sends heartbeats on a connection of this thread, and finds out that it has gone silent."""

    def __init__(self, connection: amqp.Connection) -> None:
        self._connection = connection
        self._frames = -1
        self._heard = 0.0

    def check(self) -> None:
        """To be called each second or two. Raises OSError after ``SILENCE`` seconds without a frame."""
        now = time.monotonic()
        if self._connection.bytes_recv != self._frames:
            self._frames, self._heard = self._connection.bytes_recv, now
        elif now - self._heard > SILENCE:
            raise TimeoutError(f"the broker has been silent for {SILENCE:g} s")
        self._connection.heartbeat_tick()


class ConfirmedPublisher:
    """Publishes from one thread, and returns when the broker has taken everything. Connects when it has to."""

    def __init__(
        self,
        address: Address,
        name: str,
        *,
        prepare: Callable[[Any], None],
        factory: Callable[..., amqp.Connection] = amqp.Connection,
    ) -> None:
        """``prepare`` is given the channel of each new connection, to declare what is published to."""
        self._address = address
        self._name = name
        self._prepare = prepare
        self._factory = factory
        self._connection: amqp.Connection | None = None
        self._channel: Any = None
        self._liveness: Liveness | None = None
        self._sent = 0
        self._unconfirmed: dict[int, None] = {}
        self._refused = self._returned = 0
        self._blocked = False

    def publish(self, messages: Iterable[Outgoing]) -> None:
        """Publish all and wait for their confirms. Raises BusError after 5 s without one; some may have arrived."""
        outgoing = list(messages)
        self.tick()  # finds out, for nearly nothing, that the broker hung up while nothing was published
        try:
            with as_bus_error("publishing"):
                channel = self.channel()
                for exchange, key, message in outgoing:
                    self._sent += 1
                    self._unconfirmed[self._sent] = None
                    channel.basic_publish(message, exchange, key, mandatory=True)
                self._await_confirms()
        except BaseException as error:
            blocked = self._blocked
            self.drop()
            if blocked and isinstance(error, BusError):
                raise BusError(BLOCKED) from error
            raise
        if self._refused or self._returned:
            refused, returned = self._refused, self._returned
            self.drop()
            raise BusError(f"publishing: the broker refused {refused} messages, and {returned} reached no queue")

    def channel(self) -> Any:
        """The channel, connected. Raises BusError."""
        if self._connection is None:
            connection = open_connection(self._address, self._name, self._factory)
            connection.on_blocked, connection.on_unblocked = self._on_blocked, self._on_unblocked
            self._connection = connection
            try:
                with as_bus_error("opening the publishing channel"):
                    self._channel = channel = connection.channel()
                    channel.confirm_select()
                    channel.events["basic_ack"].add(self._on_ack)
                    channel.events["basic_nack"].add(self._on_nack)
                    channel.events["basic_return"].add(self._on_return)
                    self._prepare(channel)
            except BaseException:
                self.drop()
                raise
            self._liveness = Liveness(connection)
        return self._channel

    def tick(self) -> None:
        """To be called each second or two while idle: heartbeats, and a look at what came. Never raises."""
        if self._connection is None or self._liveness is None:
            return
        try:
            with contextlib.suppress(TimeoutError, BlockingIOError):
                while True:
                    self._connection.drain_events(timeout=0)
            self._liveness.check()
        except CLIENT_ERRORS:
            self.drop()

    def drop(self) -> None:
        """Cut the connection; the next publish makes a new one. Never raises."""
        connection, self._connection, self._channel, self._liveness = self._connection, None, None, None
        self._sent = self._refused = self._returned = 0
        self._blocked = False
        self._unconfirmed.clear()
        if connection is not None:
            shut(connection)
            with contextlib.suppress(*CLIENT_ERRORS):
                connection.collect()

    def close(self) -> None:
        """Close in good order. Never raises."""
        close_quietly(self._connection)
        self.drop()

    def interrupt(self) -> None:
        """Make a call that is under way in another thread fail. Never raises."""
        shut(self._connection)

    def _await_confirms(self) -> None:
        assert self._connection is not None
        deadline = time.monotonic() + CALL_TIMEOUT
        left = len(self._unconfirmed)
        while self._unconfirmed:
            now = time.monotonic()
            if len(self._unconfirmed) < left:
                left, deadline = len(self._unconfirmed), now + CALL_TIMEOUT
            if now >= deadline:
                raise TimeoutError(f"the broker did not confirm {left} messages within {CALL_TIMEOUT:g} s")
            with contextlib.suppress(TimeoutError):
                self._connection.blocking_read(deadline - now)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if not multiple:
            self._unconfirmed.pop(tag, None)
            return
        while self._unconfirmed and (first := next(iter(self._unconfirmed))) <= tag:
            del self._unconfirmed[first]

    def _on_nack(self, tag: int, multiple: bool) -> None:
        before = len(self._unconfirmed)
        self._on_ack(tag, multiple)
        self._refused += before - len(self._unconfirmed)

    def _on_return(self, *_: object) -> None:
        self._returned += 1

    def _on_blocked(self, _: str) -> None:
        self._blocked = True

    def _on_unblocked(self) -> None:
        self._blocked = False
