"""The hint to nodes: "look now". At most once and best effort, because every node looks by itself each second."""

import asyncio
import logging

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

NODE_CHANNEL = "coordination-node"
"""The channel that nodes listen on."""
WAKE = "batch.wake"
WAKE_SECONDS = 0.8
"""How long a launch may be held up by a channel layer that does not answer."""


async def wake_nodes() -> None:
    """Ask a node to look for new batches and requests. Never raises, and takes less than a second."""
    try:
        layer = get_channel_layer()
        if layer is not None:
            async with asyncio.timeout(WAKE_SECONDS):
                await layer.send(NODE_CHANNEL, {"type": WAKE})
    except Exception as error:  # whatever it is, the batch is stored and will be found
        logger.info("No node could be woken (%s); one looks by itself within a second.", type(error).__name__)
