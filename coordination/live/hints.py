"""The hint that a batch has changed: "look now", from the node that changed it to the web processes that show it.

A hint carries no state and may be lost at any time: whoever shows a batch reads the journal, and does so each second
by itself. That is why sending one never raises and never takes long.
"""

import asyncio
import logging
import time
from uuid import UUID

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

SEND_SECONDS = 1.0
"""How long sending one hint may take."""

QUIET_SECONDS = 1.0
"""After a failure no hint is sent for so long: a channel layer that is away must not slow every write down."""

_quiet_until = 0.0


def group_of(batch: UUID) -> str:
    """The channel layer's group of those who show ``batch``; nobody outside the server chooses its name."""
    return f"coordination.batch.{batch.hex}"


async def batch_changed(batch: UUID) -> None:
    """Tell whoever shows ``batch`` that its journal has changed. Never raises; takes at most a second."""
    global _quiet_until
    layer = get_channel_layer()
    if layer is None or time.monotonic() < _quiet_until:
        return
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await layer.group_send(group_of(batch), {"type": "batch.changed", "batch": batch.hex})
    except Exception as error:
        _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.debug("A hint was lost, screens look by themselves: %s", error, extra={"batch": str(batch)})
