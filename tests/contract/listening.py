"""What the contract's tests have in common: recorders on both sides, and waiting."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from coordination.bus.port import AgentBus, BatchChannel, BusError, Delivery, NodeBus, QueueLost


async def eventually(condition: Callable[[], object], timeout: float = 10) -> None:
    """Wait until `condition()` is true; a TimeoutError says what it last was."""
    until = time.monotonic() + timeout
    while not (last := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"waited {timeout:g} s in vain; last seen: {last!r}")
        await asyncio.sleep(0.02)


async def until_it_works(call: Callable[[], Awaitable[object]], timeout: float) -> float:
    """Repeat `call` while it raises BusError; returns the seconds until it did not."""
    began = time.monotonic()
    while True:
        try:
            await call()
        except BusError:
            if time.monotonic() - began > timeout:
                raise
            await asyncio.sleep(0.05)
        else:
            return time.monotonic() - began


class Votes:
    """What a node was given of one batch."""

    channel: BatchChannel

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.lost: list[QueueLost] = []

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]

    async def acknowledge_all(self) -> None:
        for delivery in self.deliveries:
            await delivery.acknowledge()


class Strays:
    """What a node was given of the strays; acknowledged at once."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, delivery: Delivery) -> None:
        self.bodies.append(delivery.body)
        await delivery.acknowledge()


class Process:
    """A worker process's end of the bus. What it hears it acknowledges at once, unless `hold`."""

    def __init__(self, bus: AgentBus, *, hold: bool = False) -> None:
        self.bus = bus
        self.heard: list[bytes] = []
        self.held: list[Callable[[], None]] = []
        self.threads: set[str] = set()
        self.connected = 0
        self._hold = hold

    def start(self) -> "Process":
        self.bus.start(self._hear, on_connected=self._connect)
        assert self.bus.wait_connected(10)
        return self

    async def publish(self, batch: UUID, *bodies: bytes, branch: int = 1) -> None:
        await asyncio.to_thread(self.bus.publish, [(batch, branch, body) for body in bodies])

    def close(self, *, delete_mailbox: bool = True) -> None:
        self.bus.close(delete_mailbox=delete_mailbox)

    def _hear(self, body: bytes, acknowledge: Callable[[], None]) -> None:
        self.threads.add(threading.current_thread().name)
        self.heard.append(body)
        if body == b"break":
            raise ValueError("this message cannot be understood")
        if self._hold:
            self.held.append(acknowledge)
        else:
            acknowledge()

    def _connect(self) -> None:
        self.connected += 1


async def consume(node: NodeBus, batch: UUID, *, priority: int = 0) -> Votes:
    """Consume a batch's queue into a recorder."""
    votes = Votes()
    votes.channel = await node.consume_batch(batch, votes.deliveries.append, votes.lost.append, priority=priority)
    return votes
