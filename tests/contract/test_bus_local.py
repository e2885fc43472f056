"""What only the bus within one process has to bear: loops that end, and threads that publish while readers change."""

import asyncio
import threading
from uuid import uuid4

from coordination.bus.port import Delivery
from tests.contract.listening import Process, consume, eventually
from tests.contract.pairs import LocalPair


async def test_a_loop_that_ended_takes_nothing_with_it() -> None:
    """As when a node's thread has gone without a word: what it was given goes to the next reader."""
    pair, batch = LocalPair(), uuid4()
    seen: list[bytes] = []

    async def read_one() -> None:
        node = pair.node()
        await node.connect()
        await node.consume_batch(batch, lambda delivery: seen.append(delivery.body), lambda lost: None)
        await eventually(lambda: seen)

    ended = threading.Thread(target=lambda: asyncio.run(read_one()))
    ended.start()
    agent = Process(pair.agent("one")).start()
    while not pair.batch_queue_exists(batch):
        await asyncio.sleep(0.01)
    await agent.publish(batch, b"a")
    await asyncio.to_thread(ended.join)
    await agent.publish(batch, b"b")  # finds out that nobody is there
    node = pair.node()
    await node.connect()
    votes = await consume(node, batch)
    await eventually(lambda: votes.bodies == [b"a", b"b"])
    await node.close()
    agent.close()


async def test_nothing_is_lost_or_stays_behind_while_readers_come_and_go() -> None:
    pair, batch = LocalPair(), uuid4()
    node = pair.node()
    await node.connect()
    await node.declare_batch(batch)
    agents = [Process(pair.agent(f"agent-{n}")).start() for n in range(4)]
    acknowledged: list[bytes] = []

    async def acknowledge(delivery: Delivery) -> None:
        acknowledged.append(delivery.body)
        await delivery.acknowledge()

    publishing = [
        asyncio.create_task(agent.publish(batch, *(b"%d %d" % (n, i) for i in range(2000))))
        for n, agent in enumerate(agents)
    ]
    while len(acknowledged) < 8000:
        votes = await consume(node, batch)
        await asyncio.sleep(0.002)
        for delivery in votes.deliveries[:-1]:  # one is always left to the next reader
            await acknowledge(delivery)
        if len(votes.deliveries) == 1 and all(task.done() for task in publishing):
            await acknowledge(votes.deliveries[0])
        await votes.channel.close()
    await asyncio.gather(*publishing)
    assert len(set(acknowledged)) == len(acknowledged) == 8000
    assert await node.delete_batch(batch)
    for agent in agents:
        agent.close()
    await node.close()
