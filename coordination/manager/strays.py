"""Answering messages whose batch queue is gone, from the journal. Any node may; each answer rests on stored facts."""

import logging
from uuid import UUID

from coordination.bus.port import Delivery, NodeBus
from coordination.journal import strays, writer
from coordination.journal.pool import JournalPool
from coordination.protocol.effects import Tell
from coordination.protocol.encoding import MessageError, decode, encode
from coordination.protocol.journal_rules import PutBack, answer_stray, must_clean_up
from coordination.protocol.messages import ToManager, Votes

logger = logging.getLogger(__name__)


async def answer(delivery: Delivery, bus: NodeBus, journal: JournalPool) -> None:
    """Answer one stray, then acknowledge it. Raises BusError, JournalError: then it has to come again."""
    try:
        message = read(delivery.body)
    except MessageError as error:
        await set_aside(delivery, str(error), bus)
        return
    gids = [item.gid for item in message.items] if isinstance(message, Votes) else []
    facts = await journal.run(strays.facts, message.batch, gids)
    replies = answer_stray(message, facts)
    if isinstance(replies, PutBack):
        await bus.put_back(message.batch, delivery.body)
    else:
        for reply in replies:
            assert isinstance(reply, Tell)
            await bus.tell(reply.process, encode(reply.message))
    await delivery.acknowledge()


async def is_over(batch: UUID, journal: JournalPool) -> bool:
    """Asked right after declaring a batch's queue: True if there is no use for it, and stored that it is there.

    Raises JournalError.
    """
    over = must_clean_up(await journal.run(strays.facts, batch, []))
    if over:
        await journal.run(writer.queue_found, batch)
    return over


def read(body: bytes) -> ToManager:
    """The message in ``body``. Raises MessageError if it is none for managers: it is poison, to be set aside."""
    message = decode(body)
    if not isinstance(message, ToManager):
        raise MessageError(f"a {type(message).__name__} message is for agents")
    return message


async def set_aside(delivery: Delivery, why: str, bus: NodeBus) -> None:
    """Keep poison for people to look at, say so once, and acknowledge it. Raises BusError: then it comes again."""
    await bus.set_aside(delivery.body, why)
    logger.error(
        "A message of %s bytes was set aside, its beginning is in the queue of poison: %s", len(delivery.body), why
    )
    await delivery.acknowledge()
