"""Reads strays, many at once, whatever bus they come from."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from .port import BusError, Delivery

logger = logging.getLogger(__name__)


class ReturnableDelivery(Delivery, Protocol):
    """A delivery that can be given back to its queue."""

    async def put_back(self) -> None:
        """It is to be delivered again, to whoever consumes. Never raises."""


class StrayReader:
    """Hands strays to a coroutine function, as many at once as the consumer may hold."""

    def __init__(self, on_delivery: Callable[[Delivery], Awaitable[None]]) -> None:
        self._on_delivery = on_delivery
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, delivery: ReturnableDelivery) -> None:
        task = asyncio.create_task(self._read(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.5)

    async def _read(self, delivery: ReturnableDelivery) -> None:
        try:
            await self._on_delivery(delivery)
        except BusError as error:
            logger.info("A stray was not answered yet, it goes back to its queue: %s", error)
        except Exception as error:
            logger.warning("A stray was not answered, it goes back to its queue: %r", error, exc_info=True)
        else:
            return
        await asyncio.sleep(1)
        await delivery.put_back()
