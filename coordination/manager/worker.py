"""The Channels worker that hosts a node.

It wakes the node when a launch says so over the channel layer. The layer may die, drop messages or carry nonsense:
the node goes on by itself, so nothing a layer does ends it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from channels.consumer import AsyncConsumer
from channels.worker import Worker

from coordination.journal.wake import NODE_CHANNEL, WAKE

from .node import Node

logger = logging.getLogger(__name__)

RELISTEN_SECONDS = 0.5


class NodeWorker(Worker):
    """Listens on the nodes' channel and runs a node until stopped."""

    def __init__(self, node: Node, channel_layer: Any, on_ready: Callable[[], None]) -> None:
        super().__init__(application=None, channels=[NODE_CHANNEL], channel_layer=channel_layer)
        self.node = node
        self._on_ready = on_ready
        self.stop = asyncio.Event()

    async def handle(self) -> None:
        """Run until :attr:`stop` is set or the node ends. Raises what the node raises."""
        node = asyncio.create_task(self.node.run(self._on_ready))
        tasks = {node, asyncio.create_task(self.listener(NODE_CHANNEL)), asyncio.create_task(self.stop.wait())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not node.cancelled() and (error := node.exception()):
            raise error

    async def listener(self, channel: str) -> None:
        """Wake the node for each wake-up; an exception of the layer only makes it listen again."""
        while True:
            try:
                message = await self.channel_layer.receive(channel)
            except Exception as error:
                logger.debug("The channel layer does not answer, the node looks by itself: %s", error)
                await asyncio.sleep(RELISTEN_SECONDS)
                continue
            if message.get("type") == WAKE:
                self.node.wake()


class NotANode(AsyncConsumer):
    """What Channels' own ``runworker`` runs for the nodes' channel: one line, for whoever started it.

    The wake-up is not lost by that: every node looks by itself each second.
    """

    channel_layer_alias = ""  # It listens to nothing itself: the worker hands it what it gets.

    async def batch_wake(self, message: dict[str, Any]) -> None:
        """A launch asked nodes to look; this process is none."""
        logger.error("This worker manages no batches: run `manage.py runmanager`, not `runworker %s`", NODE_CHANNEL)
