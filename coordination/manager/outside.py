"""What of the world outside holds batches up: the broker, and queues that no worker reads. One look for all batches."""

import asyncio
import logging
from collections.abc import Iterable
from time import monotonic

from coordination.bus.port import BusError, NodeBus

from .dispatch import Dispatcher

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the broker, and how long the answer to "who reads this queue?" holds."""


class Outside:
    """Knows what people should hear of; says it in words that follow "waiting for"."""

    def __init__(self, bus: NodeBus, dispatcher: Dispatcher) -> None:
        self._bus = bus
        self._dispatcher = dispatcher
        self._broker = ""
        self._readers: dict[str, tuple[float, int | None]] = {}

    async def run(self) -> None:
        """Look at the broker, for ever; one line in the log when that changes."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)  # At first the bus connects.
            words = await self._bus.trouble()
            if words and not self._broker:
                logger.warning("RabbitMQ: %s. Batches wait.", words)
            elif self._broker and not words:
                logger.info("RabbitMQ takes messages again.")
            self._broker = words

    def broker(self) -> str:
        """What is the matter with the broker; empty if nothing is."""
        return f"RabbitMQ: {self._broker}" if self._broker else ""

    async def unread(self, queues: Iterable[str]) -> str:
        """Which of ``queues`` (Celery's) no worker reads; empty if each is read, or nobody can tell."""
        names = [queue for queue in queues if await self._ask(queue) == 0]
        return f"a worker: nobody reads queue {', '.join(names)}" if names else ""

    async def _ask(self, queue: str) -> int | None:
        asked, readers = self._readers.get(queue, (0.0, None))
        if monotonic() - asked > LOOK_SECONDS:
            try:
                readers = await asyncio.wrap_future(self._dispatcher.submit(self._dispatcher.readers, queue))
            except BusError:
                readers = None
            self._readers = {q: known for q, known in self._readers.items() if monotonic() - known[0] < LOOK_SECONDS}
            self._readers[queue] = (monotonic(), readers)
        return readers
