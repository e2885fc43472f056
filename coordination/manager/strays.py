"""Answering messages whose batch queue is gone, from the journal. Any node may; each answer rests on stored facts."""

from uuid import UUID

from coordination.bus.port import Delivery, NodeBus
from coordination.journal import strays, writer
from coordination.journal.pool import JournalPool
from coordination.protocol.effects import Tell
from coordination.protocol.encoding import MessageError, encode
from coordination.protocol.journal_rules import PutBack, answer_stray, must_clean_up
from coordination.protocol.messages import Votes

from .poison import read, set_aside


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
