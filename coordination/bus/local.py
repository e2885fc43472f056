"""The bus within one process, without a broker: queues in memory, shared by an installation's buses of one URL.

What RabbitMQ does for its adapters is done here for :mod:`.local_node` and :mod:`.local_agent`: a queue gives each
message to one consumer, at most 200 unacknowledged each, and takes back what one that closes has not acknowledged.
Nothing is durable: a process that dies loses all of it, as if a broker had been wiped. What is prepared is then found
by the sweep, what is open is asked after by its manager.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from uuid import UUID

PREFETCH = 200

QueueName = tuple[str, str]
"""What kind of queue, and which."""

STRAYS: QueueName = ("strays", "")
MAILBOX = "mailbox"


def batch_queue(batch: UUID) -> QueueName:
    """The queue of one batch's votes."""
    return ("batch", batch.hex)


def mailbox(process: str) -> QueueName:
    """The mailbox of one worker process: gone when that closes it, for nobody else in this process could die alone."""
    return (MAILBOX, process)


def recovery_queue(alias: str) -> QueueName:
    """The queue of orders that any agent with this database may carry out."""
    return ("recovery", alias)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message in a queue; its number is its place in the order of arrival."""

    number: int
    body: bytes


class Consumer:
    """One reader of one queue, and what it was given and has not acknowledged. The exchange's lock guards it."""

    def __init__(
        self,
        queue: QueueName,
        receive: Callable[["Consumer", Parcel], bool],
        on_lost: Callable[[], None] | None,
        priority: int = 0,
    ) -> None:
        self.queue = queue
        self.priority = priority
        self.receive = receive
        self.on_lost = on_lost
        self.unacknowledged: dict[int, Parcel] = {}
        self.closed = False


class _Queue:
    def __init__(self) -> None:
        self.ready: deque[Parcel] = deque()
        self.consumers: deque[Consumer] = deque()


class Exchange:
    """The queues of one bus. Its methods may be called from any thread and never wait for anybody."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a consumer that is found dead is closed in the middle of a delivery
        self._queues: dict[QueueName, _Queue] = {}
        self._numbers = count()
        self.declare(STRAYS)

    def declare(self, name: QueueName) -> bool:
        """Make sure that there is such a queue; whether it had to be made."""
        with self._lock:
            if name in self._queues:
                return False
            self._queues[name] = _Queue()
            return True

    def exists(self, name: QueueName) -> bool:
        """Whether there is such a queue."""
        with self._lock:
            return name in self._queues

    def waiting(self, name: QueueName) -> int:
        """Messages in it that nobody was given; 0 if there is no such queue."""
        with self._lock:
            queue = self._queues.get(name)
            return len(queue.ready) if queue else 0

    def is_read(self, name: QueueName) -> bool:
        """Whether there is such a queue, and it has a consumer."""
        with self._lock:
            queue = self._queues.get(name)
            return bool(queue and queue.consumers)

    def delete(self, name: QueueName, *, if_empty: bool = False) -> bool:
        """Delete a queue and tell its consumers; with ``if_empty``, False if it holds messages nobody was given."""
        with self._lock:
            queue = self._queues.get(name)
            if queue is None:
                return True
            if if_empty and queue.ready:
                return False
            del self._queues[name]
            for consumer in queue.consumers:
                consumer.closed = True
                consumer.unacknowledged.clear()
                if consumer.on_lost is not None:
                    consumer.on_lost()
            return True

    def publish(self, messages: Iterable[tuple[QueueName, bytes]], *, otherwise: QueueName | None = None) -> bool:
        """Put messages into their queues. One whose queue is gone goes to ``otherwise``; False if some went nowhere."""
        arrived = True
        with self._lock:
            touched: dict[int, _Queue] = {}
            for name, body in messages:
                queue = self._queues.get(name) or (self._queues.get(otherwise) if otherwise else None)
                if queue is None:
                    arrived = False
                    continue
                queue.ready.append(Parcel(next(self._numbers), body))
                touched[id(queue)] = queue
            for queue in touched.values():
                self._hand_out(queue)
        return arrived

    def publish_to_mailboxes(self, body: bytes) -> None:
        """Put one message into every mailbox there is."""
        with self._lock:
            self.publish([(name, body) for name in self._queues if name[0] == MAILBOX])

    def consume(
        self,
        name: QueueName,
        receive: Callable[[Consumer, Parcel], bool],
        on_lost: Callable[[], None] | None = None,
        *,
        priority: int = 0,
    ) -> tuple[Consumer, bool]:
        """Declare a queue and have ``receive`` called with what it holds and gets; whether the queue had to be made.

        Of several consumers the one with the highest priority is served first; those of the same in turn.

        ``receive`` and ``on_lost`` run under the exchange's lock, in whatever thread publishes: they may only pass
        things on. ``receive`` returns False when its reader is gone.
        """
        with self._lock:
            made = self.declare(name)
            consumer = Consumer(name, receive, on_lost, priority)
            self._queues[name].consumers.append(consumer)
            self._hand_out(self._queues[name])
            return consumer, made

    def fetch(self, name: QueueName) -> tuple[Consumer, list[Parcel]]:
        """What a queue holds, at most 200, and the consumer that stands for having it unacknowledged."""
        with self._lock:
            consumer = Consumer(name, lambda consumer, parcel: False, None)
            queue = self._queues.get(name) or _Queue()
            parcels = [queue.ready.popleft() for _ in range(min(PREFETCH, len(queue.ready)))]
            consumer.unacknowledged = {parcel.number: parcel for parcel in parcels}
            return consumer, parcels

    def acknowledge(self, consumer: Consumer, parcel: Parcel) -> None:
        """It may be forgotten; without effect if it was, or if the consumer is closed."""
        with self._lock:
            if consumer.unacknowledged.pop(parcel.number, None) is not None and not consumer.closed:
                self._hand_out_of(consumer.queue)

    def put_back(self, consumer: Consumer, parcel: Parcel) -> None:
        """It is to be given to whoever consumes, again."""
        with self._lock:
            if consumer.unacknowledged.pop(parcel.number, None) is not None:
                self._return(consumer.queue, [parcel])
                self._hand_out_of(consumer.queue)

    def close(self, consumer: Consumer) -> None:
        """It consumes no more; what it has not acknowledged goes back to the queue, in its old place."""
        with self._lock:
            self._detach(consumer)
            self._hand_out_of(consumer.queue)

    def _hand_out_of(self, name: QueueName) -> None:
        queue = self._queues.get(name)
        if queue is not None:
            self._hand_out(queue)

    def _hand_out(self, queue: _Queue) -> None:
        while queue.ready:
            consumer = self._next_free(queue)
            if consumer is None:
                return
            parcel = queue.ready.popleft()
            consumer.unacknowledged[parcel.number] = parcel
            if not consumer.receive(consumer, parcel):
                self._detach(consumer)

    @staticmethod
    def _next_free(queue: _Queue) -> Consumer | None:
        free = [consumer for consumer in queue.consumers if len(consumer.unacknowledged) < PREFETCH]
        if not free:
            return None
        chosen = max(free, key=lambda consumer: consumer.priority)  # the first of several
        queue.consumers.remove(chosen)
        queue.consumers.append(chosen)
        return chosen

    def _detach(self, consumer: Consumer) -> None:
        consumer.closed = True
        parcels, consumer.unacknowledged = list(consumer.unacknowledged.values()), {}
        queue = self._queues.get(consumer.queue)
        if queue is not None:
            if consumer in queue.consumers:
                queue.consumers.remove(consumer)
            self._return(consumer.queue, parcels)

    def _return(self, name: QueueName, parcels: list[Parcel]) -> None:
        queue = self._queues.get(name)
        if queue is not None and parcels:
            queue.ready = deque(sorted([*parcels, *queue.ready], key=lambda parcel: parcel.number))


_exchanges: dict[tuple[str, str], Exchange] = {}
_making = threading.Lock()


def exchange(url: str, installation: str) -> Exchange:
    """The one exchange that all buses of ``url`` and ``installation`` in this process share."""
    with _making:
        return _exchanges.setdefault((url, installation), Exchange())
