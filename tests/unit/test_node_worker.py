"""The Channels worker around a node: woken by the layer, and not to be ended by it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest
from channels.layers import InMemoryChannelLayer
from channels.routing import ChannelNameRouter
from channels.testing import ApplicationCommunicator

from coordination.journal.wake import NODE_CHANNEL, WAKE
from coordination.manager.node import Node
from coordination.manager.worker import NodeWorker, NotANode


class Standing:
    """Where a node would be: counts its wake-ups, runs until it is told to end."""

    def __init__(self) -> None:
        self.woken = 0
        self.end: BaseException | None = None
        self.handed_over = False

    def wake(self) -> None:
        self.woken += 1

    async def run(self, on_ready: Callable[[], None]) -> None:
        on_ready()
        try:
            while self.end is None:
                await asyncio.sleep(0.01)
            raise self.end
        finally:
            self.handed_over = True


class Failing(InMemoryChannelLayer):
    """A layer whose server is away for the first few looks."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 2

    async def receive(self, channel: str) -> dict[str, Any]:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the layer is away")
        return cast(dict[str, Any], await super().receive(channel))


async def started(layer: InMemoryChannelLayer) -> tuple[NodeWorker, Standing, "asyncio.Task[None]"]:
    node = Standing()
    ready = asyncio.Event()
    worker = NodeWorker(cast(Node, node), layer, ready.set)
    task = asyncio.create_task(worker.handle())
    await asyncio.wait_for(ready.wait(), 5)
    return worker, node, task


async def test_a_wake_up_reaches_the_node_and_nonsense_does_no_harm() -> None:
    layer = InMemoryChannelLayer()
    worker, node, task = await started(layer)
    for message in ({"no": "type"}, {"type": "unheard.of"}, {"type": WAKE}):
        await layer.send(NODE_CHANNEL, message)
    async with asyncio.timeout(5):
        while not node.woken:
            await asyncio.sleep(0.01)
    worker.stop.set()
    await asyncio.wait_for(task, 5)
    assert (node.woken, node.handed_over) == (1, True)


async def test_a_layer_that_dies_is_listened_to_again() -> None:
    layer = Failing()
    worker, node, task = await started(layer)
    await layer.send(NODE_CHANNEL, {"type": WAKE})
    async with asyncio.timeout(5):
        while not node.woken:
            await asyncio.sleep(0.01)
    worker.stop.set()
    await asyncio.wait_for(task, 5)


async def test_a_node_that_cannot_run_ends_the_worker() -> None:
    _, node, task = await started(InMemoryChannelLayer())
    node.end = RuntimeError("this journal is another installation's")
    with pytest.raises(RuntimeError, match="another installation"):
        await asyncio.wait_for(task, 5)


async def test_stock_runworker_names_runmanager(caplog: pytest.LogCaptureFixture) -> None:
    application = ChannelNameRouter({NODE_CHANNEL: NotANode.as_asgi()})
    process = ApplicationCommunicator(application, {"type": "channel", "channel": NODE_CHANNEL})
    with caplog.at_level(logging.ERROR):
        await process.send_input({"type": WAKE})
        async with asyncio.timeout(5):
            while "runmanager" not in caplog.text:
                await asyncio.sleep(0.01)
    process.stop()
