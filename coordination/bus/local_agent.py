"""A worker's bus within the node's own process: one thread that hears, and queues that are a call away."""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from uuid import UUID

from . import local
from .local import Consumer, Parcel
from .port import BusError

logger = logging.getLogger(__name__)

OnMessage = Callable[[bytes, Callable[[], None]], None]


class LocalAgentBus:
    """:class:`~.port.AgentBus` over an :class:`~.local.Exchange`."""

    def __init__(self, url: str, *, installation: str, process: str, aliases: Sequence[str]) -> None:
        """For a worker called ``process``, which can finish gids of the databases ``aliases``."""
        self._exchange = local.exchange(url, installation)
        self._process = process
        self._queues = [local.mailbox(process), *(local.recovery_queue(alias) for alias in aliases)]
        self._connected = threading.Event()
        self._inbox: SimpleQueue[tuple[Consumer, Parcel] | None] = SimpleQueue()
        self._consumers: list[Consumer] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self, on_message: OnMessage, *, on_connected: Callable[[], None]) -> None:
        for queue in self._queues:
            self._consumers.append(self._exchange.consume(queue, self._receive)[0])
        self._thread = threading.Thread(
            target=self._run, args=(on_message, on_connected), name="coordination-bus", daemon=True
        )
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        return self._connected.wait(timeout)

    def publish(self, messages: Sequence[tuple[UUID, int, bytes]]) -> None:
        if self._closed:
            raise BusError("the bus is closed")
        self._exchange.publish(
            [(local.batch_queue(batch), body) for batch, _, body in messages], otherwise=local.STRAYS
        )

    def tick(self) -> None:
        """There is no connection to keep alive."""

    def close(self, *, delete_mailbox: bool) -> None:
        self._closed = True
        self._inbox.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.5)
        self._connected.clear()
        for consumer in self._consumers:
            self._exchange.close(consumer)
        if delete_mailbox:
            self._exchange.delete(local.mailbox(self._process))

    def _run(self, on_message: OnMessage, on_connected: Callable[[], None]) -> None:
        on_connected()
        self._connected.set()
        while not self._closed:
            came = self._inbox.get()
            if came is None:
                return
            consumer, parcel = came
            acknowledge = partial(self._exchange.acknowledge, consumer, parcel)
            try:
                on_message(parcel.body, acknowledge)
            except Exception:
                logger.exception("A message to this worker process was not understood and is dropped.")
                acknowledge()

    def _receive(self, consumer: Consumer, parcel: Parcel) -> bool:
        self._inbox.put((consumer, parcel))
        return True
