"""After the end: answer what is left in the batch's queue, delete it, send the launch's callback, store that.

Nodes retry an ended batch until that is stored, so the callback is sent at least once.
"""

import asyncio
import logging
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS

from coordination.bus.port import BusError
from coordination.journal import writer
from coordination.journal.pool import JournalError
from coordination.models import Batch
from coordination.protocol.states import BatchState

from . import strays
from .batch_manager import Surroundings

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 0.05
"""Between two looks at a queue that still gets messages."""


async def clean(batch: UUID, around: Surroundings) -> None:
    """Clean up after ``batch``; whatever does not work now is left for the next time."""
    try:
        while not await around.bus.delete_batch(batch):
            for delivery in await around.bus.drain_batch(batch):
                await strays.answer(delivery, around.bus, around.journal)
            await asyncio.sleep(DRAIN_SECONDS)
        signature = await around.journal.run(_callback, batch)
        if signature:
            send = around.dispatcher.submit(around.dispatcher.send_signature, signature)
            await asyncio.wrap_future(send)
        await around.journal.run(writer.queue_deleted, batch)
    except (BusError, JournalError) as error:
        logger.info("Batch %s is not cleaned up yet: %s", batch, error)
    except Exception:
        logger.exception("Batch %s: its callback could not be sent; it is tried again", batch)


def _callback(batch: UUID) -> dict[str, Any] | None:
    found = Batch.objects.using(DEFAULT_DB_ALIAS).only("state", "on_committed", "on_rolled_back").get(pk=batch)
    if found.state == BatchState.COMMITTED:
        return found.on_committed
    return found.on_rolled_back if found.state == BatchState.ROLLED_BACK else None
