"""What the adapters over RabbitMQ do when the network between them and the broker fails."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from coordination.bus import node_link
from coordination.bus.address import read
from coordination.bus.port import SILENT, BusError, NodeBus
from tests.contract.listening import Process, consume, eventually, until_it_works
from tests.contract.pairs import RabbitMQPair
from tests.services import RabbitMQ
from tests.services.proxy import Proxy

MakeProcess = Callable[..., Process]


class TestTheNetwork:
    async def test_resets_connections_and_leaves_the_broker_in_the_dark(
        self, node: NodeBus, process: MakeProcess, proxy: Proxy
    ) -> None:
        """Row 29. Half open: the broker still counts the old consumers, and gives them every other message."""
        batch = uuid4()
        votes = await consume(node, batch)
        one = process("one")
        await asyncio.to_thread(proxy.reset_clients)
        began = time.monotonic()
        await eventually(lambda: one.connected == 2)
        await until_it_works(lambda: node.mailbox_is_read("one"), 3)
        assert time.monotonic() - began < 3
        for n in range(40):
            await until_it_works(lambda n=n: one.publish(batch, b"%d" % n), 3)
            await until_it_works(lambda: node.tell("one", b"repeated"), 3)
            await asyncio.sleep(0.01)
        await eventually(lambda: len(votes.bodies) >= 15 and len(one.heard) >= 15)

    async def test_is_well_and_a_node_stops_while_it_asks_the_broker_something(
        self, server: RabbitMQ, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client swallows a cancellation now and then."""
        monkeypatch.setattr(node_link, "PROBE_EVERY", 0.0005)
        for _ in range(40):
            link = node_link.Link(read(server.url), "test", probe=True)
            await link.connect()
            await asyncio.sleep(random.uniform(0, 0.02))
            await asyncio.wait_for(link.close(), 2.5)

    async def test_swallows_everything(self, node: NodeBus, process: MakeProcess, proxy: Proxy) -> None:
        """Row 29. A black hole: no call hangs, and all is well again soon after it."""
        batch = uuid4()
        votes = await consume(node, batch)
        one = process("one")
        await one.publish(batch, b"before")
        await eventually(lambda: votes.bodies == [b"before"])
        proxy.black_hole()
        assert await node.trouble() == SILENT
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: node.tell("one", b"x"),
            lambda: node.recover("crm", b"x"),
            lambda: node.declare_batch(uuid4()),
            lambda: node.drain_batch(batch),
            lambda: node.mailbox_is_read("one"),
            lambda: one.publish(batch, b"x"),
        ]

        async def timed(call: Callable[[], Awaitable[object]]) -> float:
            """Seconds until it gave up."""
            began = time.monotonic()
            with pytest.raises(BusError):
                await call()
            return time.monotonic() - began

        await asyncio.wait_for(votes.deliveries[0].acknowledge(), 6)  # which never raises
        assert max(await asyncio.gather(*(timed(call) for call in calls))) < 11
        await eventually(lambda: not one.bus.wait_connected(0), 15)
        proxy.pass_on()
        await until_it_works(lambda: node.tell("one", b"after"), 8)
        await eventually(lambda: b"after" in one.heard, 8)
        await until_it_works(lambda: one.publish(batch, b"after"), 8)
        await eventually(lambda: b"after" in votes.bodies, 20)

    async def test_swallows_answers(self, node: NodeBus, process: MakeProcess, proxy: Proxy) -> None:
        """What was published arrives, and nobody is told: it is an error, and may arrive twice."""
        batch = uuid4()
        await node.declare_batch(batch)
        one = process("one")
        await one.publish(uuid4(), b"x")
        proxy.one_way()
        with pytest.raises(BusError, match="confirm"):
            await one.publish(batch, b"twice")
        proxy.pass_on()
        await until_it_works(lambda: one.publish(batch, b"twice"), 8)
        await until_it_works(lambda: node.declare_batch(batch), 8)
        assert [d.body for d in await node.drain_batch(batch)] == [b"twice", b"twice"]

    async def test_is_slow(self, node: NodeBus, process: MakeProcess, proxy: Proxy) -> None:
        proxy.delay(0.05)
        batch = uuid4()
        votes = await consume(node, batch)
        one = process("one")
        await one.publish(batch, *(b"%d" % n for n in range(300)))
        for n in range(300):
            await eventually(lambda n=n: len(votes.deliveries) > n)
            await votes.deliveries[n].acknowledge()
        await asyncio.gather(*(node.tell("one", b"x") for _ in range(300)))
        await eventually(lambda: len(one.heard) == 300)

    async def test_connections_live_through_idleness(
        self, server: RabbitMQ, pair: RabbitMQPair, process: MakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Heartbeats: after four of them and nothing else all connections are the same ones."""
        monkeypatch.setattr("coordination.bus.node_link.HEARTBEAT", 2)
        monkeypatch.setattr("coordination.bus.blocking.HEARTBEAT", 2)
        node = pair.node()
        await node.connect()
        batch = uuid4()
        votes = await consume(node, batch)
        one = process("one")
        await one.publish(batch, b"a")
        assert await node.tell("one", b"a")

        def connections() -> set[str]:
            return {connection["pid"] for connection in server.connections()}

        before = connections()
        assert len(before) == 4
        for _ in range(8):
            await asyncio.sleep(1)
            await asyncio.to_thread(one.bus.tick)
        assert connections() == before
        await one.publish(batch, b"b")
        assert await node.tell("one", b"b")
        await eventually(lambda: votes.bodies == [b"a", b"b"] and one.heard == [b"a", b"b"])
        assert one.connected == 1
        await node.close()
