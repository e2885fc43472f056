"""The embedded stack: what a host of the home runs in its own process.

**Threads.** The node is on an event loop: the web server's, which is the main thread's, or one of a thread of its own
where a command hosts. The Celery worker has a thread, and four more for tasks; its agent has some.
**Order.** Up: worker, node, web server. Down: node (it hands its batches over), web server, worker, PostgreSQL. What a
killed host had under way is in the journal and in the databases, where the next one finds it.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.worker import WorkController
from channels.layers import get_channel_layer
from django.conf import settings

from coordination.live.hints import batch_changed
from coordination.manager.node import Node
from coordination.manager.worker import NodeWorker
from coordination.models import Batch
from coordination.protocol import gid
from orchestrator_site.celery import app
from orchestrator_site.entering import say
from orchestrator_site.home import Home
from orchestrator_site.postgresql import HomeError

logger = logging.getLogger(__name__)

SLOTS = 4
READY_SECONDS = 30.0
NODE_STOP_SECONDS = 10.0
WORKER_STOP_SECONDS = 3.0
"""How long a stop waits for tasks that run. One that is cut off has prepared nothing, and is run again."""
LEFT_BEHIND_SECONDS = 15.0
"""How long a command that has hosted waits for what a killed host had prepared of batches that have ended since."""
LOOK_SECONDS = 1.0
"""How often one that waits looks whether there is still a host."""


class Worker(WorkController):
    """A Celery worker in a thread: without signal handlers, without a hold on standard output."""

    def __init__(self, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        # The more it takes at once, the less it waits: from one message at a time to 16, tasks a second quadruple.
        super().__init__(
            app=app, pool="threads", concurrency=SLOTS, hostname="embedded@local", prefetch_multiplier=16,
            without_heartbeat=True, without_mingle=True, without_gossip=True,
        )  # fmt: skip

    def on_consumer_ready(self, consumer: Any) -> None:
        """As a worker that is a program of its own: this starts the agent."""
        signals.worker_ready.send(sender=consumer)
        self._on_ready()


class Engine:
    """Node and worker of this process. Ready, or failed, once `settled` is set; afterwards it can still fail."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None] = lambda: None) -> None:
        """The node will be on `loop`. `on_change` is called in any thread when it is ready and when it has failed."""
        self.failure = ""
        self.settled = threading.Event()
        self._loop = loop
        self._on_change = on_change
        self._waiting_for = {"node", "worker"}
        self._stopping = False
        self._worker: Worker | None = None
        self._node: NodeWorker | None = None
        self._node_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start both and return at once."""
        os.environ["CELERY_SKIP_CHECKS"] = "1"  # they ran when this command began
        threading.Thread(target=self._work, name="celery", daemon=True).start()
        self._loop.call_soon_threadsafe(self._start_node)

    def wake(self) -> None:
        """Have the node look for batches and requests now. From any thread."""
        if self._node is not None:
            self._loop.call_soon_threadsafe(self._node.node.wake)

    async def stop_node(self) -> None:
        """Have the node hand its batches over. On its loop."""
        self._stopping = True
        if self._node is not None and self._node_task is not None:
            self._node.stop.set()
            await asyncio.wait([self._node_task], timeout=NODE_STOP_SECONDS)

    def stop_worker(self) -> None:
        """Stop the worker and its agent; tasks that still run after some seconds are left to their fate."""
        self._stopping = True
        if self._worker is not None:
            stopping = threading.Thread(target=self._worker.stop, name="celery-stop", daemon=True)
            stopping.start()
            stopping.join(WORKER_STOP_SECONDS)
            if stopping.is_alive():
                logging.disable()  # all they could say now is that their connections are gone

    def _work(self) -> None:
        try:
            self._worker = Worker(lambda: self._is_ready("worker"))
            self._worker.start()
        except Exception:
            logger.exception("The worker did not start.")
        self._failed("The worker has ended.")

    def _start_node(self) -> None:
        try:
            self._node = NodeWorker(Node(batch_changed), get_channel_layer(), lambda: self._is_ready("node"))
        except Exception as error:
            logger.exception("The node could not be made.")
            self._failed(str(error))
            return
        self._node_task = self._loop.create_task(self._node.handle())
        self._node_task.add_done_callback(self._node_ended)

    def _node_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, RuntimeError):
            logger.error("A defect ended the node.", exc_info=error)
        self._failed(str(error) if error is not None else "The node has ended.")

    def _is_ready(self, part: str) -> None:
        self._waiting_for.discard(part)
        if not self._waiting_for:
            self.settled.set()
            self._on_change()

    def _failed(self, text: str) -> None:
        if not self._stopping:
            self.failure = self.failure or text
            self.settled.set()
            self._on_change()


class Host:
    """`COORDINATION_HOST`: lets a command host its home for as long as nobody else does."""

    def __init__(self) -> None:
        if settings.HOME is None or not settings.HOME.is_open:
            raise HomeError("Only a command of manage.py can host, where no services are configured.")
        self._home: Home = settings.HOME
        self._next = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="node", daemon=True)
        self._engine: Engine | None = None

    def alone(self) -> bool:
        """Whether nobody hosts."""
        return not self._home.is_hosting and not self._home.the_host()

    def take(self) -> bool:
        """Become the host if nobody is; whether this process now is. Looks each second, however often it is called.

        Raises HomeError when what it hosts has failed.
        """
        if self._engine is None:
            if time.monotonic() < self._next:
                return False
            self._next = time.monotonic() + LOOK_SECONDS
            if not self._home.host():
                return False
            self._thread.start()
            self._engine = Engine(self._loop)
            self._engine.start()
            if not self._engine.settled.wait(READY_SECONDS):
                raise HomeError(f"Manager and worker were not ready within {READY_SECONDS:g} s.")
        if self._engine.failure:
            raise HomeError(f"This process cannot run batches any more: {self._engine.failure}")
        return True

    def wake(self) -> None:
        """Have batches and requests looked for now, if this process hosts."""
        if self._engine is not None:
            self._engine.wake()

    def close(self) -> None:
        """Stop hosting. Nothing that is over is left prepared, where it can be helped."""
        if self._engine is None:
            return
        engine, self._engine = self._engine, None
        try:
            self._clear_up(engine)
        finally:
            asyncio.run_coroutine_threadsafe(engine.stop_node(), self._loop).result()
            engine.stop_worker()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._home.stop_hosting()

    def _clear_up(self, engine: Engine) -> None:
        """Wait for the sweep. It is the next host that would do it otherwise, and when that will be nobody knows."""
        until = time.monotonic() + LEFT_BEHIND_SECONDS
        said = False
        while not engine.failure and time.monotonic() < until and (left := _left_behind(self._home)):
            if not said:
                say(f"Rolling back what a killed process left prepared of batches that are over ({left} tasks) …")
                said = True
            time.sleep(0.2)


def _left_behind(home: Home) -> int:
    """How many transactions of batches that are over are prepared."""
    with home.server.connect() as connection:
        found = [gid.parse(row[0]) for row in connection.execute("SELECT gid FROM pg_prepared_xacts")]
    batches = [parts.batch for parts in found if parts is not None]
    if not batches:
        return 0
    still_open = set(Batch.objects.filter(pk__in=set(batches), ended=None).values_list("pk", flat=True))
    return sum(batch not in still_open for batch in batches)


def serve(port: int, on_ready: Callable[[], None]) -> str:
    """Run node, worker and web server on 127.0.0.1:`port` until SIGINT or SIGTERM. `on_ready`: all of it is up.

    Returns "" after a clean stop, else what went wrong.
    """
    # Before anything else of Twisted's: importing it decides whose event loop the reactor runs.
    import daphne.server
    from twisted.internet import defer, reactor

    from orchestrator_site.asgi import application

    loop = daphne.server.twisted_loop
    twisted: Any = reactor

    def on_change() -> None:
        loop.call_soon_threadsafe(twisted.stop if engine.failure else on_ready)

    engine = Engine(loop, on_change)
    server = daphne.server.Server(
        application, endpoints=[f"tcp:port={port}:interface=127.0.0.1"], server_name=None, verbosity=0
    )
    twisted.addSystemEventTrigger(
        "before", "shutdown", lambda: defer.Deferred.fromFuture(loop.create_task(engine.stop_node()))
    )
    engine.start()
    server.run()
    engine.stop_worker()
    if server.abort_start:
        return f"Port {port} could not be opened."
    return engine.failure
