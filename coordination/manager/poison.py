"""Messages that no manager can read: kept for people to look at, and out of the way of the others."""

import logging

from coordination.bus.port import Delivery, NodeBus
from coordination.protocol.encoding import MessageError, decode
from coordination.protocol.messages import ToManager

logger = logging.getLogger(__name__)


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
