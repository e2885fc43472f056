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
from .surroundings import Surroundings

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 0.05
"""Between two looks at a queue that still gets messages."""


async def clean(batch: UUID, around: Surroundings) -> None:
    """Clean up after ``batch``, in the order of ``protocol.journal_rules.CLEANUP``.

    Whatever does not work now is left for the next time. ``batch`` may be unknown to the journal.
    """
    try:
        epoch = await around.journal.run(writer.epoch_of, batch)
        await _delete_queue(batch, around)
        signature = await around.journal.run(_callback, batch)
        if signature:
            await asyncio.wrap_future(around.dispatcher.submit(around.dispatcher.send_signature, signature))
        await around.journal.run(writer.queue_deleted, batch, epoch)
        await _delete_queue(batch, around)
    except (BusError, JournalError) as error:
        logger.info("Batch %s is not cleaned up yet: %s", batch, error)
    except Exception:
        logger.exception("Batch %s: its callback could not be sent; it is tried again", batch)


async def _delete_queue(batch: UUID, around: Surroundings) -> None:
    while not await around.bus.delete_batch(batch):
        for delivery in await around.bus.drain_batch(batch):
            await strays.answer(delivery, around.bus, around.journal)
        await asyncio.sleep(DRAIN_SECONDS)


def _callback(batch: UUID) -> dict[str, Any] | None:
    found = Batch.objects.using(DEFAULT_DB_ALIAS).filter(pk=batch).first()
    if found is None or found.state not in (BatchState.COMMITTED, BatchState.ROLLED_BACK):
        return None
    return found.on_committed if found.state == BatchState.COMMITTED else found.on_rolled_back
