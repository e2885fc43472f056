"""What the adapters over RabbitMQ do when the broker dies, holds back, or loses its queues."""

import asyncio
import logging
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from coordination.bus.port import ALARM, BLOCKED, UNREACHABLE, BusError, NodeBus
from tests.contract.listening import Process, Strays, consume, eventually, until_it_works
from tests.contract.pairs import RabbitMQPair
from tests.services import RabbitMQ
from tests.services.proxy import Proxy

MakeProcess = Callable[..., Process]


class TestNoBroker:
    async def test_a_node_says_so_without_the_password(
        self, server: RabbitMQ, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        for url in ("amqp://guest:s3cret@127.0.0.1:1/", server.url.replace("guest:guest", "guest:s3cret")):
            with pytest.raises(BusError) as caught:
                await RabbitMQPair(server, url).node().connect()
            assert "s3cret" not in str(caught.value)
        assert "s3cret" not in caplog.text

    async def test_an_agent_says_so_and_goes_on_trying(
        self, server: RabbitMQ, pair: RabbitMQPair, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        server.kill()
        one = Process(pair.agent("early"))
        one.bus.start(one._hear, on_connected=one._connect)
        with pytest.raises(BusError):
            one.bus.publish([(uuid4(), 1, b"x")])
        assert not one.bus.wait_connected(1)
        assert "guest:guest" not in caplog.text
        await asyncio.to_thread(server.start)
        assert await asyncio.to_thread(one.bus.wait_connected, 3)
        await until_it_works(lambda: one.publish(uuid4(), b"x"), 1)
        one.close()

    async def test_that_answers_nothing_is_given_up(self, pair: RabbitMQPair, proxy: Proxy) -> None:
        proxy.black_hole()
        agent = pair.agent("lonely")
        publishing = asyncio.to_thread(agent.publish, [(uuid4(), 1, b"x")])
        began = time.monotonic()
        results = await asyncio.gather(pair.node().connect(), publishing, return_exceptions=True)
        assert time.monotonic() - began < 6
        assert [type(result) for result in results] == [BusError, BusError]
        agent.close(delete_mailbox=True)


class TestTheBrokerDies:
    async def test_and_is_back(self, server: RabbitMQ, node: NodeBus, process: MakeProcess) -> None:
        """Row 27. kill -9: consumers, mailbox and whatever was confirmed are there again within seconds."""
        batches = [uuid4() for _ in range(100)]
        votes = [await consume(node, batch) for batch in batches]
        strays, unread = Strays(), uuid4()
        await node.consume_strays(strays)
        await node.declare_batch(unread)
        one = process("survivor", ["crm"])
        await one.publish(unread, *(b"%d" % n for n in range(50)))
        await node.recover("warehouse", b"order")

        server.kill()
        await eventually(lambda: not one.bus.wait_connected(0))
        began = time.monotonic()
        for call in (node.tell("survivor", b"x"), node.declare_batch(unread), node.mailbox_is_read("survivor")):
            with pytest.raises(BusError):
                await call
        with pytest.raises(BusError):
            await one.publish(unread, b"x")
        assert time.monotonic() - began < 1
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)

        began = time.monotonic()
        await until_it_works(lambda: node.tell("survivor", b"back"), 4)
        await eventually(lambda: b"back" in one.heard, 4)
        await until_it_works(lambda: one.publish(uuid4(), b"stray"), 4)
        for batch in batches:
            await one.publish(batch, b"after")
        await eventually(lambda: all(v.bodies == [b"after"] for v in votes) and b"stray" in strays.bodies, 4)
        assert time.monotonic() - began < 6
        assert not any(v.lost for v in votes), "their queues were never gone"
        assert [d.body for d in await node.drain_batch(unread)] == [b"%d" % n for n in range(50)]
        late = process(aliases=["warehouse"])
        await eventually(lambda: late.heard == [b"order"])
        for v in votes:
            await v.acknowledge_all()
            await v.channel.close()
        for batch in batches:
            await node.delete_batch(batch)

    async def test_with_votes_unacknowledged_they_come_again(
        self, server: RabbitMQ, node: NodeBus, process: MakeProcess
    ) -> None:
        batch = uuid4()
        votes = await consume(node, batch)
        await process().publish(batch, b"a", b"b")
        await eventually(lambda: len(votes.bodies) == 2)
        server.kill()
        await votes.deliveries[0].acknowledge()
        await asyncio.to_thread(server.start)
        await eventually(lambda: votes.bodies == [b"a", b"b"] * 2)
        await votes.deliveries[1].acknowledge()  # of the connection that is gone: means nothing now
        await votes.deliveries[2].acknowledge()
        await votes.channel.close()
        assert [d.body for d in await node.drain_batch(batch)] == [b"b"]

    async def test_and_comes_back_empty(self, server: RabbitMQ, node: NodeBus, process: MakeProcess) -> None:
        batch, strays = uuid4(), Strays()
        votes = await consume(node, batch)
        await node.consume_strays(strays)
        one = process("wiped", ["crm"])
        await node.recover("crm", b"before")
        await asyncio.to_thread(server.wipe)
        await eventually(lambda: [lost.batch for lost in votes.lost] == [batch])
        await eventually(lambda: one.connected == 2)
        await until_it_works(lambda: node.tell("wiped", b"hello"), 4)
        await until_it_works(lambda: one.publish(uuid4(), b"stray"), 4)
        await node.recover("crm", b"order")
        await eventually(lambda: b"stray" in strays.bodies and one.heard == [b"before", b"hello", b"order"])
        again = await consume(node, batch)
        await one.publish(batch, b"vote")
        await eventually(lambda: again.bodies == [b"vote"])


class TestQueuesAndExchangesVanish:
    async def test_a_mailbox(
        self, server: RabbitMQ, pair: RabbitMQPair, node: NodeBus, process: MakeProcess
    ) -> None:
        one = process("one")
        server.delete(pair.names.mailbox("one"))
        await eventually(lambda: one.connected == 2)
        assert await node.tell("one", b"hello")
        await eventually(lambda: one.heard == [b"hello"])

    async def test_a_recovery_queue(
        self, server: RabbitMQ, pair: RabbitMQPair, node: NodeBus, process: MakeProcess
    ) -> None:
        await node.recover("ledger", b"a")
        server.delete(pair.names.recovery_queue("ledger"))
        await node.recover("ledger", b"b")
        one = process(aliases=["ledger"])
        await eventually(lambda: one.heard == [b"b"])
        server.delete(pair.names.recovery_queue("ledger"))
        await eventually(lambda: one.connected == 2)
        await node.recover("ledger", b"c")
        await eventually(lambda: one.heard == [b"b", b"c"])

    async def test_the_strays(
        self, server: RabbitMQ, pair: RabbitMQPair, node: NodeBus, process: MakeProcess
    ) -> None:
        strays = Strays()
        await node.consume_strays(strays)
        server.delete(pair.names.strays)
        one = process()
        await asyncio.sleep(0.5)
        await one.publish(uuid4(), b"stray")
        await eventually(lambda: b"stray" in strays.bodies)

    async def test_the_exchanges(
        self, server: RabbitMQ, pair: RabbitMQPair, node: NodeBus, process: MakeProcess
    ) -> None:
        one = process("one")
        await one.publish(uuid4(), b"x")
        assert await node.tell("one", b"x")
        with server.connect() as connection:
            connection.channel().exchange_delete(pair.names.votes)
            connection.channel().exchange_delete(pair.names.decisions)
        await until_it_works(lambda: one.publish(uuid4(), b"x"), 2)
        await until_it_works(lambda: node.tell("one", b"x"), 2)


class TestAQueueLeftBehind:
    async def test_goes_a_day_after_its_last_reader(self, server: RabbitMQ, pair: RabbitMQPair, node: NodeBus) -> None:
        batch, day = uuid4(), 24 * 60 * 60 * 1000
        await node.declare_batch(batch)
        with server.connect() as connection:  # refused if the queue were declared in any other way
            connection.channel().queue_declare(
                pair.names.batch_queue(batch), durable=True, auto_delete=False, arguments={"x-expires": day}
            )
        assert await node.delete_batch(batch)


class TestAnAlarm:
    async def test_holds_publishing_back_and_nothing_else(
        self, server: RabbitMQ, node: NodeBus, process: MakeProcess
    ) -> None:
        """Row 30. Calls give up in time and say why."""
        batch = uuid4()
        votes = await consume(node, batch)
        one = process("one")
        await one.publish(batch, b"before")
        await node.tell("one", b"before")
        await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            while await node.trouble() != ALARM:  # The broker looks at its memory in its own time.
                await asyncio.sleep(0.1)
            began = time.monotonic()
            results = await asyncio.gather(
                node.tell("one", b"held"), one.publish(batch, b"held"), return_exceptions=True
            )
            assert time.monotonic() - began < 8
            assert [str(result) for result in results] == [BLOCKED, BLOCKED]
            assert await node.trouble() == ALARM
            assert await node.mailbox_is_read("one")
            await node.declare_batch(uuid4())
            await votes.acknowledge_all()
        finally:
            await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")
        await until_it_works(lambda: node.tell("one", b"after"), 8)
        await until_it_works(lambda: one.publish(batch, b"after"), 8)
        await eventually(lambda: b"after" in one.heard and b"after" in votes.bodies, 8)
        assert await node.trouble() == ""

    async def test_is_told_to_a_node_that_has_nothing_to_say(self, server: RabbitMQ, node: NodeBus) -> None:
        assert await node.trouble() == ""
        await asyncio.to_thread(server.ctl, "set_disk_free_limit", str(10**15))
        try:
            began = time.monotonic()
            await node.trouble()  # may be the message that the alarm comes after
            assert await node.trouble() == ALARM
            assert time.monotonic() - began < 4
        finally:
            await asyncio.to_thread(server.ctl, "set_disk_free_limit", "50MB")
        server.kill()
        assert await node.trouble() == UNREACHABLE


class TestChannels:
    async def test_are_used_again(self, server: RabbitMQ, node: NodeBus) -> None:
        """Numbers must not grow with time: the broker closes a connection that uses one above its limit."""
        kept: list[UUID] = [uuid4() for _ in range(5)]
        open_ones = [await consume(node, batch) for batch in kept]
        for _ in range(60):
            oldest = open_ones.pop(0)
            open_ones.append(await consume(node, uuid4()))
            await oldest.channel.close()
        highest = await asyncio.to_thread(server.ctl, "list_channels", "number", "--no-table-headers")
        assert max(int(line) for line in highest.split()) < 20

    async def test_beyond_the_brokers_limit_are_refused_and_harm_nobody(self, own: Callable[..., RabbitMQ]) -> None:
        small = own(RabbitMQ, "few-channels", config="channel_max = 40\n")
        node = RabbitMQPair(small).node()
        await node.connect()
        batches = [uuid4() for _ in range(60)]
        votes = await asyncio.gather(*(consume(node, b) for b in batches), return_exceptions=True)
        refused = [v for v in votes if isinstance(v, BaseException)]
        assert refused and all(isinstance(v, BusError) and "channel_max" in str(v) for v in refused)
        assert len(votes) - len(refused) >= 20
        assert not await node.mailbox_is_read("one")
        await node.close()
