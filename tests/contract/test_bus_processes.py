"""What `coordination/bus/port.py` says of mailboxes, recovery and an agent's threads, held against every pair."""

import asyncio
import threading
import time
from collections.abc import Callable
from uuid import uuid4

import pytest

from coordination.bus.port import BusError, NodeBus
from tests.contract.listening import Process, eventually
from tests.contract.pairs import Pair

MakeProcess = Callable[..., Process]


class TestMailboxes:
    async def test_tell_reaches_that_process_only(self, node: NodeBus, process: MakeProcess) -> None:
        one, two = process("one"), process("two")
        assert await node.tell("one", b"for one")
        assert await node.tell("two", b"for two")
        await eventually(lambda: one.heard and two.heard)
        assert (one.heard, two.heard) == ([b"for one"], [b"for two"])

    async def test_tell_without_a_mailbox_says_so(self, node: NodeBus) -> None:
        assert not await node.tell("nobody", b"hello")

    async def test_tell_all_reaches_everyone(self, node: NodeBus, process: MakeProcess) -> None:
        await node.tell_all(b"nobody is there")
        everyone = [process() for _ in range(3)]
        await node.tell_all(b"everyone")
        await eventually(lambda: all(p.heard == [b"everyone"] for p in everyone))

    async def test_is_read_while_its_process_lives(self, pair: Pair, node: NodeBus, process: MakeProcess) -> None:
        assert not await node.mailbox_is_read("reader")
        reader = process("reader")
        assert await node.mailbox_is_read("reader")
        await asyncio.to_thread(reader.close)
        assert not await node.mailbox_is_read("reader")
        assert not await node.tell("reader", b"gone")

    async def test_outlives_a_process_that_was_killed(self, node: NodeBus, process: MakeProcess) -> None:
        killed = process("killed")
        await asyncio.to_thread(killed.close, delete_mailbox=False)
        assert not await node.mailbox_is_read("killed")
        assert await node.tell("killed", b"still to be heard")
        heir = process("killed")
        await eventually(lambda: heir.heard == [b"still to be heard"])

    async def test_what_is_not_acknowledged_is_heard_again(self, node: NodeBus, process: MakeProcess) -> None:
        first = process("again", hold=True)
        await node.tell("again", b"a")
        await node.tell("again", b"b")
        await eventually(lambda: len(first.held) == 2)
        first.held[0]()  # from another thread than the one it was heard in
        await asyncio.sleep(0.2)
        await asyncio.to_thread(first.close, delete_mailbox=False)
        first.held[1]()  # too late, and harmless
        second = process("again")
        await eventually(lambda: second.heard == [b"b"])

    async def test_more_than_is_held_at_once_comes_as_it_is_acknowledged(
        self, node: NodeBus, process: MakeProcess
    ) -> None:
        slow = process("slow", hold=True)
        await asyncio.gather(*(node.tell("slow", b"x") for _ in range(300)))
        await eventually(lambda: len(slow.held) == 200)
        for acknowledge in slow.held[:100]:
            acknowledge()
        await eventually(lambda: len(slow.held) == 300)

    async def test_a_message_not_understood_is_dropped(self, node: NodeBus, process: MakeProcess) -> None:
        hearer = process("hearer")
        await node.tell("hearer", b"break")
        await node.tell("hearer", b"fine")
        await eventually(lambda: hearer.heard == [b"break", b"fine"])
        await asyncio.to_thread(hearer.close, delete_mailbox=False)
        heir = process("hearer")
        await node.tell("hearer", b"last")
        await eventually(lambda: heir.heard == [b"last"])


class TestRecovery:
    async def test_goes_to_one_process_with_that_database(self, node: NodeBus, process: MakeProcess) -> None:
        alias = f"ledger-{uuid4().hex[:6]}"
        both = [process(aliases=["other", alias]), process(aliases=[alias])]
        without = process(aliases=["other"])
        for n in range(10):
            await node.recover(alias, b"%d" % n)
        await eventually(lambda: sum(len(p.heard) for p in both) == 10)
        assert {body for p in both for body in p.heard} == {b"%d" % n for n in range(10)}
        assert not without.heard

    async def test_waits_for_a_process_with_that_database(self, node: NodeBus, process: MakeProcess) -> None:
        alias = f"crm-{uuid4().hex[:6]}"
        await node.recover(alias, b"order")
        late = process(aliases=[alias])
        await eventually(lambda: late.heard == [b"order"])

    async def test_not_acknowledged_it_goes_to_another(self, node: NodeBus, process: MakeProcess) -> None:
        alias = f"crm-{uuid4().hex[:6]}"
        dies = process(aliases=[alias], hold=True)
        await node.recover(alias, b"order")
        await eventually(lambda: dies.heard == [b"order"])
        heir = process(aliases=[alias])
        await asyncio.to_thread(dies.close, delete_mailbox=False)
        await eventually(lambda: heir.heard == [b"order"])


class TestTheAgentsThreads:
    async def test_start_returns_at_once_and_connects_by_itself(self, pair: Pair) -> None:
        bus = pair.agent(f"worker-{uuid4().hex[:8]}")
        assert not bus.wait_connected(0.05)
        one = Process(bus)
        before = threading.active_count()
        one.start()
        assert one.connected == 1
        one.close()
        await eventually(lambda: threading.active_count() <= before)

    async def test_messages_are_heard_in_one_thread_of_the_bus(self, node: NodeBus, process: MakeProcess) -> None:
        one = process("one", aliases=["crm"])
        for _ in range(20):
            await node.tell("one", b"a")
        await node.recover("crm", b"b")
        await eventually(lambda: len(one.heard) == 21)
        assert len(one.threads) == 1
        assert threading.current_thread().name not in one.threads

    async def test_close_is_quick_and_final(self, pair: Pair, process: MakeProcess) -> None:
        one = process()
        await one.publish(uuid4(), b"a")
        began = time.monotonic()
        await asyncio.to_thread(one.close)
        assert time.monotonic() - began < 2
        with pytest.raises(BusError):
            one.bus.publish([(uuid4(), 1, b"b")])
        one.bus.tick()
        one.close()
        never_started = pair.agent("never-started")
        never_started.close(delete_mailbox=True)

    async def test_publishing_nothing_is_fine_and_ticks_are_harmless(self, process: MakeProcess) -> None:
        one = process()
        one.bus.tick()
        one.bus.publish([])
        for _ in range(5):
            one.bus.tick()
