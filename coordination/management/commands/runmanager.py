"""``manage.py runmanager``: a node, which manages batches."""

import asyncio
import logging
import signal
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.core.management.base import BaseCommand, CommandError

from coordination.live.hints import batch_changed
from coordination.manager.node import Node
from coordination.manager.worker import NodeWorker


class Command(BaseCommand):
    """Run a node until SIGTERM or SIGINT, then hand its batches over."""

    help = "Run a node: it claims batches and manages each until it has ended. Start as many as you like."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the node. Raises CommandError when it cannot run here at all."""
        logging.captureWarnings(True)
        try:
            asyncio.run(self._run())
        except RuntimeError as error:
            raise CommandError(str(error)) from error

    async def _run(self) -> None:
        # Without a channel layer nobody can wake the node; it looks by itself each second.
        layer = get_channel_layer() or InMemoryChannelLayer()
        node = Node(batch_changed)
        worker = NodeWorker(node, layer, lambda: self._say(f"Node {node.name} ready"))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop.set)
        await worker.handle()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
