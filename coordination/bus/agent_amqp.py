"""RabbitMQ as a worker process sees it, with py-amqp and one thread that reads.

The reading thread owns one connection, whoever publishes the other: an alarm on the broker blocks the second only.
"""

import contextlib
import logging
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import amqp

from .address import Address, read
from .blocking import (
    ConfirmedPublisher,
    Liveness,
    as_bus_error,
    close_quietly,
    declare_topology,
    open_connection,
    shut,
)
from .port import BusError
from .topology import ALL, MAILBOX_ARGUMENTS, Topology, vote_key

logger = logging.getLogger(__name__)

PREFETCH = 200
RETRY_FIRST, RETRY_MOST = 0.2, 2.0
READ_FRAME = 5.0
"""Seconds within which a frame whose beginning has come must be complete."""

OnMessage = Callable[[bytes, Callable[[], None]], None]


class AmqpAgentBus:
    """:class:`~.port.AgentBus` over RabbitMQ."""

    def __init__(self, url: str, *, installation: str, process: str, aliases: Sequence[str]) -> None:
        """For worker process ``process``, which can finish gids of the databases ``aliases``. Raises BadBrokerUrl."""
        address = read(url)
        self._names = names = Topology(installation)
        self._reader = _Reader(address, names, process, tuple(aliases))
        self._publisher = ConfirmedPublisher(
            address,
            f"coordination agent {process}, publishing",
            prepare=lambda channel: declare_topology(channel, names),
        )
        self._publishing = threading.Lock()
        self._closed = False

    def start(self, on_message: OnMessage, *, on_connected: Callable[[], None]) -> None:
        self._reader.start(on_message, on_connected)

    def wait_connected(self, timeout: float) -> bool:
        return self._reader.connected.wait(timeout)

    def publish(self, messages: Sequence[tuple[UUID, int, bytes]]) -> None:
        with self._publishing:
            if self._closed:
                raise BusError("the bus is closed")
            self._publisher.publish(
                (self._names.votes, vote_key(batch, branch), amqp.Message(body, delivery_mode=2))
                for batch, branch, body in messages
            )

    def tick(self) -> None:
        with self._publishing:
            self._publisher.tick()

    def close(self, *, delete_mailbox: bool) -> None:
        self._closed = True
        self._reader.stop(delete_mailbox=delete_mailbox)
        if self._publishing.acquire(timeout=0.3):
            self._publisher.close()
            self._publishing.release()
        else:
            self._publisher.interrupt()


class _MailboxLost(Exception):
    """A queue this process reads was deleted."""


class _Reader:
    """The thread that reads the mailbox and the recovery queues, whatever becomes of the connection."""

    def __init__(self, address: Address, names: Topology, process: str, aliases: tuple[str, ...]) -> None:
        self.connected = threading.Event()
        self._names = names
        self._address = address
        self._process = process
        self._aliases = aliases
        self._connection: amqp.Connection | None = None
        self._acks: deque[tuple[amqp.Connection, int]] = deque()
        self._stopping = threading.Event()
        self._delete_mailbox = False
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread: threading.Thread | None = None
        self._on_message: OnMessage = lambda body, acknowledge: acknowledge()
        self._on_connected: Callable[[], None] = lambda: None

    def start(self, on_message: OnMessage, on_connected: Callable[[], None]) -> None:
        """Start the thread."""
        self._on_message, self._on_connected = on_message, on_connected
        self._thread = threading.Thread(target=self._run, name="coordination-bus", daemon=True)
        self._thread.start()

    def stop(self, *, delete_mailbox: bool) -> None:
        """Stop the thread within 1.5 s. Never raises."""
        self._delete_mailbox = delete_mailbox
        self._stopping.set()
        self._wake()
        if self._thread is None:
            self._close_sockets()
        elif self._thread is not threading.current_thread():
            self._thread.join(1.2)
            if self._thread.is_alive():
                shut(self._connection)
                self._thread.join(0.3)

    def _run(self) -> None:
        delay, said = RETRY_FIRST, False
        while not self._stopping.is_set():
            try:
                connection = open_connection(self._address, f"coordination agent {self._process}, consuming")
                self._connection = connection
                try:
                    with as_bus_error("consuming"):
                        channel = self._consume(connection)
                        delay, said = RETRY_FIRST, False
                        self._read(connection, channel)
                finally:
                    self.connected.clear()
                    self._connection = None
                    close_quietly(connection)
            except _MailboxLost as lost:
                logger.warning("%s; declaring it again.", lost)
            except BusError as error:
                if not said and not self._stopping.is_set():
                    logger.warning("The broker cannot be reached, trying again: %s.", error)
                said = True
            self._stopping.wait(delay * random.uniform(0.7, 1))
            delay = min(delay * 1.5, RETRY_MOST)
        self._close_sockets()

    def _consume(self, connection: amqp.Connection) -> amqp.Channel:
        """Declare and consume everything on a new connection."""
        channel = connection.channel()
        declare_topology(channel, self._names)
        channel.basic_qos(0, PREFETCH, False)
        mailbox = self._names.mailbox(self._process)
        channel.queue_declare(mailbox, durable=True, auto_delete=False, arguments=MAILBOX_ARGUMENTS)
        for key in (self._process, ALL):
            channel.queue_bind(mailbox, self._names.decisions, key)
        queues = [mailbox]
        for alias in self._aliases:
            queues.append(self._names.recovery_queue(alias))
            channel.queue_declare(queues[-1], durable=True, auto_delete=False)
        for queue in queues:
            channel.basic_consume(
                queue, callback=partial(self._deliver, connection), on_cancel=partial(self._cancelled, queue)
            )
        return channel

    def _read(self, connection: amqp.Connection, channel: amqp.Channel) -> None:
        """Hand out messages until told to stop or the connection fails."""
        self._on_connected()
        self.connected.set()
        liveness = Liveness(connection)
        checked = 0.0
        while not self._stopping.is_set():
            if self._readable(connection, 1.0):
                connection.blocking_read(READ_FRAME)
            self._acknowledge(connection, channel)
            if time.monotonic() - checked >= 1:
                liveness.check()
                checked = time.monotonic()
        self._acknowledge(connection, channel)
        if self._delete_mailbox:
            channel.queue_delete(self._names.mailbox(self._process))

    def _readable(self, connection: amqp.Connection, timeout: float) -> bool:
        """Wait for the broker, or for :meth:`_wake`."""
        sock = connection.sock
        pending = getattr(sock, "pending", None)  # TLS: what is decrypted already does not wake select
        if pending is not None and pending():
            return True
        ready, _, _ = select.select([sock, self._wake_out], [], [], timeout)
        if self._wake_out in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_out.recv(4096)
        return sock in ready

    def _deliver(self, connection: amqp.Connection, message: amqp.Message) -> None:
        acknowledge = partial(self._acknowledge_later, connection, message.delivery_tag)
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        try:
            self._on_message(body, acknowledge)
        except Exception:
            logger.exception("A message to this worker process was not understood and is dropped.")
            acknowledge()

    def _cancelled(self, queue: str, _: str) -> None:
        if self._stopping.is_set():
            return  # we deleted it ourselves
        raise _MailboxLost(f"Queue {queue} was deleted under its reader")

    def _acknowledge_later(self, connection: amqp.Connection, tag: int) -> None:
        self._acks.append((connection, tag))
        if threading.current_thread() is not self._thread:
            self._wake()

    def _acknowledge(self, connection: amqp.Connection, channel: amqp.Channel) -> None:
        while self._acks:
            of, tag = self._acks.popleft()
            if of is connection:  # tags of an earlier connection mean nothing: the broker delivers those again
                channel.basic_ack(tag)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full is awake already, closed needs no waking
            self._wake_in.send(b"x")

    def _close_sockets(self) -> None:
        self._wake_in.close()
        self._wake_out.close()
