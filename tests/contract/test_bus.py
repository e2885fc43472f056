"""What `coordination/bus/port.py` says of votes, batches and strays, held against every pair of adapters."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from coordination.bus.port import BusError, Delivery, NodeBus, QueueLost
from tests.contract.listening import Process, Strays, consume, eventually
from tests.contract.pairs import Pair

MakeProcess = Callable[..., Process]


class TestVotes:
    async def test_arrive_unchanged_and_in_order(self, node: NodeBus, process: MakeProcess, batch: UUID) -> None:
        votes = await consume(node, batch)
        bodies = [b"", b"\x00\xff{not json", b"x" * 300_000, *(b"%d" % n for n in range(500))]
        await process().publish(batch, *bodies)
        await eventually(lambda: len(votes.bodies) >= 200)
        for n in range(len(bodies)):
            await eventually(lambda n=n: len(votes.deliveries) > n)
            await votes.deliveries[n].acknowledge()
        assert votes.bodies == bodies

    async def test_go_to_their_own_batch_whatever_the_branch(
        self, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        other = uuid4()
        votes, others = await consume(node, batch), await consume(node, other)
        sender = process()
        await asyncio.to_thread(sender.bus.publish, [(batch, 1, b"a"), (other, 1, b"b"), (batch, 20_000, b"c")])
        await eventually(lambda: len(votes.bodies) == 2 and len(others.bodies) == 1)
        assert (votes.bodies, others.bodies) == ([b"a", b"c"], [b"b"])
        await votes.acknowledge_all()
        await others.acknowledge_all()
        await others.channel.close()
        assert await node.delete_batch(other)

    async def test_wait_in_a_declared_queue_nobody_reads(
        self, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        await node.declare_batch(batch)
        await node.declare_batch(batch)
        await process().publish(batch, b"early")
        votes = await consume(node, batch)
        await eventually(lambda: votes.bodies == [b"early"])

    async def test_acknowledged_are_forgotten_and_others_come_again(
        self, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        votes = await consume(node, batch)
        await process().publish(batch, b"a", b"b", b"c")
        await eventually(lambda: len(votes.bodies) == 3)
        await votes.deliveries[1].acknowledge()
        await votes.channel.close()
        again = await consume(node, batch)
        await eventually(lambda: again.bodies == [b"a", b"c"])
        await again.acknowledge_all()
        await again.channel.close()
        assert await node.delete_batch(batch)

    async def test_acknowledging_never_raises(self, node: NodeBus, process: MakeProcess, batch: UUID) -> None:
        votes = await consume(node, batch)
        sender = process()
        await sender.publish(batch, b"a", b"b")
        await eventually(lambda: len(votes.bodies) == 2)
        await votes.deliveries[0].acknowledge()
        await votes.deliveries[0].acknowledge()
        await sender.publish(batch, b"c")
        await eventually(lambda: len(votes.bodies) == 3)  # the double acknowledgement did no harm
        await votes.channel.close()
        await votes.deliveries[1].acknowledge()
        await node.close()
        await votes.deliveries[2].acknowledge()

    async def test_at_most_200_are_out_at_once(self, node: NodeBus, process: MakeProcess, batch: UUID) -> None:
        votes = await consume(node, batch)
        await process().publish(batch, *[b"x"] * 250)
        await eventually(lambda: len(votes.bodies) == 200)
        await asyncio.sleep(0.2)
        assert len(votes.bodies) == 200
        assert await votes.channel.waiting() == 50
        await votes.acknowledge_all()
        await eventually(lambda: len(votes.bodies) == 250)
        assert await votes.channel.waiting() == 0

    async def test_two_nodes_may_read_one_batch(
        self, pair: Pair, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        second = pair.node()
        await second.connect()
        try:
            one, two = await consume(node, batch), await consume(second, batch)
            await process().publish(batch, *(b"%d" % n for n in range(20)))
            await eventually(lambda: len(one.bodies) + len(two.bodies) == 20)
            assert one.bodies and two.bodies
        finally:
            await second.close()
        await eventually(lambda: set(one.bodies) == {b"%d" % n for n in range(20)})

    async def test_a_callback_that_raises_harms_nobody_else(
        self, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        seen: list[bytes] = []

        def take(delivery: Delivery) -> None:
            seen.append(delivery.body)
            if delivery.body == b"bad":
                raise ValueError("a mistake in the manager")

        channel = await node.consume_batch(batch, take, lambda lost: None)
        await process().publish(batch, b"bad", b"good")
        await eventually(lambda: seen == [b"bad", b"good"])
        await channel.close()

    async def test_of_300_batches_at_once_reach_each_its_own(self, node: NodeBus, process: MakeProcess) -> None:
        batches = [uuid4() for _ in range(300)]
        votes = await asyncio.gather(*(consume(node, batch) for batch in batches))
        sender = process()
        await asyncio.to_thread(sender.bus.publish, [(b, n, f"{b} {n}".encode()) for n in range(1, 4) for b in batches])
        await eventually(lambda: all(len(v.bodies) == 3 for v in votes))
        for batch, vote in zip(batches, votes, strict=True):
            assert vote.bodies == [f"{batch} {n}".encode() for n in range(1, 4)]
            await vote.acknowledge_all()
        await asyncio.gather(*(vote.channel.close() for vote in votes))
        assert all(await asyncio.gather(*(node.delete_batch(batch) for batch in batches)))


class TestTheBatchQueue:
    async def test_deleted_under_its_consumer_is_reported_once_and_not_made_again(
        self, pair: Pair, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        votes = await consume(node, batch)
        pair.delete_batch_queue(batch)
        await eventually(lambda: votes.lost)
        await asyncio.sleep(0.3)
        assert votes.lost == [QueueLost(batch=batch)]
        assert not pair.batch_queue_exists(batch)

        again = await consume(node, batch)
        await process().publish(batch, b"later")
        await eventually(lambda: again.bodies == [b"later"])
        await votes.channel.close()
        assert await again.channel.waiting() == 0

    async def test_says_whether_it_had_to_be_made(self, pair: Pair, node: NodeBus, batch: UUID) -> None:
        first = await consume(node, batch)
        assert first.channel.created
        await first.channel.close()
        again = await consume(node, batch)
        assert not again.channel.created
        pair.delete_batch_queue(batch)
        await eventually(lambda: again.lost)
        assert (await consume(node, batch)).channel.created

    async def test_messages_go_to_the_later_manager(self, node: NodeBus, process: MakeProcess, batch: UUID) -> None:
        """The earlier one was stopped, perhaps, and nobody knows whether it will wake."""
        earlier = await consume(node, batch, priority=1)
        later = await consume(node, batch, priority=2)
        await process().publish(batch, *(b"%d" % n for n in range(20)))
        await eventually(lambda: len(later.deliveries) == 20)
        assert earlier.deliveries == []
        await later.channel.close()
        await eventually(lambda: len(earlier.deliveries) == 20)

    async def test_is_deleted_only_if_empty(self, pair: Pair, node: NodeBus, process: MakeProcess, batch: UUID) -> None:
        assert await node.delete_batch(batch), "there is none"
        await node.declare_batch(batch)
        await process().publish(batch, b"a")
        assert not await node.delete_batch(batch)
        assert pair.batch_queue_exists(batch)
        for delivery in await node.drain_batch(batch):
            await delivery.acknowledge()
        assert await node.delete_batch(batch)
        assert not pair.batch_queue_exists(batch)

    async def test_drains(self, node: NodeBus, process: MakeProcess, batch: UUID) -> None:
        assert await node.drain_batch(batch) == [], "there is no such queue"
        await node.declare_batch(batch)
        assert await node.drain_batch(batch) == []
        await process().publish(batch, *(b"%d" % n for n in range(250)))
        first = await node.drain_batch(batch)
        assert [d.body for d in first] == [b"%d" % n for n in range(200)]
        for delivery in first[:150]:
            await delivery.acknowledge()
        second = await node.drain_batch(batch)
        assert {d.body for d in second} == {b"%d" % n for n in range(150, 250)}
        for delivery in second:
            await delivery.acknowledge()
        assert await node.drain_batch(batch) == []

    async def test_drained_and_not_acknowledged_is_not_deleted_with_it(
        self, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        await node.declare_batch(batch)
        await process().publish(batch, b"a")
        assert len(await node.drain_batch(batch)) == 1
        assert not await node.delete_batch(batch)


class TestStrays:
    async def test_a_vote_without_a_queue_is_a_stray(self, node: NodeBus, process: MakeProcess) -> None:
        strays = Strays()
        await node.consume_strays(strays)
        await process().publish(uuid4(), b"lost my way")
        await eventually(lambda: b"lost my way" in strays.bodies)

    async def test_put_back_it_reaches_its_batch_once_that_has_a_queue(
        self, pair: Pair, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        strays = Strays()
        await node.consume_strays(strays)
        await process().publish(batch, b"too early")
        await eventually(lambda: b"too early" in strays.bodies)
        with pytest.raises(BusError):
            await node.put_back(batch, b"too early")
        assert not pair.batch_queue_exists(batch), "its manager must find out that it is gone"
        votes = await consume(node, batch)
        await node.put_back(batch, b"too early")
        await eventually(lambda: votes.bodies == [b"too early"])

    async def test_one_that_cannot_be_answered_comes_again(self, node: NodeBus, process: MakeProcess) -> None:
        times: list[float] = []
        mine = uuid4().bytes

        async def answer(delivery: Delivery) -> None:
            if delivery.body == mine:
                times.append(time.monotonic())
                if len(times) == 1:
                    raise RuntimeError("the journal is away")
            await delivery.acknowledge()

        await node.consume_strays(answer)
        await process().publish(uuid4(), mine)
        await eventually(lambda: len(times) == 2)
        assert times[1] - times[0] >= 0.9
        await asyncio.sleep(0.2)
        assert len(times) == 2

    async def test_one_that_takes_long_holds_nobody_up(self, node: NodeBus, process: MakeProcess) -> None:
        release, quick = asyncio.Event(), Strays()

        async def answer(delivery: Delivery) -> None:
            if delivery.body == b"slow":
                await release.wait()
            await quick(delivery)

        await node.consume_strays(answer)
        await process().publish(uuid4(), b"slow", b"quick")
        await eventually(lambda: b"quick" in quick.bodies)
        assert b"slow" not in quick.bodies
        release.set()
        await eventually(lambda: b"slow" in quick.bodies)


class TestTwoInstallations:
    async def test_on_one_broker_hear_nothing_of_each_other(
        self, pair: Pair, node: NodeBus, process: MakeProcess, batch: UUID
    ) -> None:
        others = pair.of_another_installation()
        stranger, strangers_process = others.node(), Process(others.agent("one", ["crm"])).start()
        strays, strangers_strays = Strays(), Strays()
        await stranger.connect()
        try:
            ours, theirs = await consume(node, batch), await consume(stranger, batch)
            await node.consume_strays(strays)
            await stranger.consume_strays(strangers_strays)
            one = process("one", ["crm"])
            await one.publish(batch, b"ours")
            await strangers_process.publish(batch, b"theirs")
            await one.publish(uuid4(), b"our stray")
            await strangers_process.publish(uuid4(), b"their stray")
            for bus, whose in ((node, b"our"), (stranger, b"their")):
                assert await bus.tell("one", whose + b" word")
                await bus.tell_all(whose + b" word to all")
                await bus.recover("crm", whose + b" order")
            await eventually(lambda: ours.bodies and theirs.bodies and strays.bodies and strangers_strays.bodies)
            assert (ours.bodies, theirs.bodies) == ([b"ours"], [b"theirs"])
            await eventually(lambda: len(one.heard) == 3 and len(strangers_process.heard) == 3)
            assert set(one.heard) == {b"our word", b"our word to all", b"our order"}
            assert set(strangers_process.heard) == {b"their word", b"their word to all", b"their order"}
            assert b"their stray" not in strays.bodies
            assert strangers_strays.bodies == [b"their stray"]
        finally:
            await asyncio.to_thread(strangers_process.close)
            await stranger.close()
            others.delete_batch_queue(batch)


class TestTheNode:
    async def test_calls_after_close_raise_bus_error(self, pair: Pair) -> None:
        node = pair.node()
        await node.connect()
        began = time.monotonic()
        await node.close()
        assert time.monotonic() - began < 2
        batch = uuid4()
        for call in (
            lambda: node.declare_batch(batch),
            lambda: node.consume_batch(batch, lambda d: None, lambda lost: None),
            lambda: node.delete_batch(batch),
            lambda: node.drain_batch(batch),
            lambda: node.tell("one", b"x"),
            lambda: node.tell_all(b"x"),
            lambda: node.recover("crm", b"x"),
            lambda: node.put_back(batch, b"x"),
            lambda: node.mailbox_is_read("one"),
        ):
            with pytest.raises(BusError):
                await call()
        await node.close()

    async def test_a_caller_that_gives_up_breaks_nothing(self, node: NodeBus, process: MakeProcess) -> None:
        one = process("one")
        for _ in range(20):
            task = asyncio.create_task(node.tell("one", b"x"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert await node.tell("one", b"after")
        await eventually(lambda: one.heard and one.heard[-1] == b"after")
