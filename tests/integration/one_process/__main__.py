"""Node, agent and Celery worker in this one process: runs batches of plan demo for acme, one after the other.

Each argument is the parameters of one batch, as JSON. For each a line of JSON is printed: its `summary`, the `seconds`
it took, and `lag`, the longest time in milliseconds that the event loop was kept from its work meanwhile.
"""

import asyncio
import json
import sys
import threading
import time
from typing import Any

import django

django.setup()

from celery import signals  # noqa: E402
from celery.worker import WorkController  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402

from coordination.api import alaunch  # noqa: E402
from coordination.journal import queries  # noqa: E402
from coordination.live.hints import batch_changed  # noqa: E402
from coordination.manager.node import Node  # noqa: E402
from coordination.manager.worker import NodeWorker  # noqa: E402
from coordination.participant.lifecycle import stop_agent  # noqa: E402
from orchestrator_site.celery import app  # noqa: E402

TICK = 0.005


class Worker(WorkController):
    """Celery's worker, in a thread."""

    ready: threading.Event

    def on_consumer_ready(self, consumer: Any) -> None:
        signals.worker_ready.send(sender=consumer)
        self.ready.set()


def start_worker() -> Worker:
    """A worker with four threads for tasks, which takes tasks."""
    Worker.ready = threading.Event()
    worker = Worker(
        app=app, pool="threads", concurrency=4, hostname="one@process", prefetch_multiplier=16,
        without_heartbeat=True, without_mingle=True, without_gossip=True,
    )  # fmt: skip
    threading.Thread(target=worker.start, daemon=True).start()
    if not Worker.ready.wait(20):
        raise TimeoutError("the worker did not start")
    return worker


class Lag:
    """How late the loop is."""

    worst = 0.0

    async def watch(self) -> None:
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            self.worst = max(self.worst, time.monotonic() - due)


async def main(batches: list[dict[str, Any]]) -> None:
    ready = asyncio.Event()
    node = NodeWorker(Node(batch_changed), get_channel_layer(), ready.set)
    lag = Lag()
    tasks = [asyncio.create_task(node.handle()), asyncio.create_task(lag.watch())]
    await ready.wait()
    worker = await asyncio.to_thread(start_worker)
    for params in batches:
        lag.worst, began = 0.0, time.monotonic()
        batch = await alaunch("acme", "demo", params, by="a test")
        status = await batch.outcome(120)
        took = time.monotonic() - began
        summary = await asyncio.to_thread(queries.summary, status)
        print(json.dumps({"summary": summary, "seconds": round(took, 3), "lag": round(lag.worst * 1000, 1)}))
    node.stop.set()
    await tasks[0]
    tasks[1].cancel()
    await asyncio.to_thread(worker.stop)
    await asyncio.to_thread(stop_agent)


if __name__ == "__main__":
    asyncio.run(main([json.loads(argument) for argument in sys.argv[1:]]))
