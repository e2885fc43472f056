"""The drill's node and worker, each a process that can be armed for a crash point."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from celery import current_app

from coordination import conf
from coordination.bus import address
from coordination.crashpoints import Point
from coordination.drill.link import Link
from coordination.drill.member import READY
from coordination.errors import CoordinationError

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
SAID_READY = re.compile(rf"{re.escape(READY)}|^Node .* ready$", re.MULTILINE)


class MemberDidNotStart(CoordinationError):
    """The drill's {role} did not start within {seconds:g} s. Its last words: {words} (all of them: {log})"""


class Member:
    """A node or a worker. ``environment`` and ``log`` are the crew's."""

    def __init__(self, role: str, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self.role = role
        self.session = f"crash-drill-{role}"
        """What its database sessions are called, unless the project's settings give them a name."""
        self._command = [sys.executable, "-m", "coordination.drill.member", role, *arguments]
        self._environment = environment | {"PGAPPNAME": self.session}
        self._folder, self._starts = folder, 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, at: str = "", marks: Path | None = None) -> None:
        """Start it, armed for the crash point ``at`` says, and wait until it is ready. Raises MemberDidNotStart."""
        self.stop()
        self._starts += 1
        log = self._folder / f"{self.role}-{self._starts}.log"
        environment = {**self._environment}
        if at:
            environment |= {"COORDINATION_CRASH_AT": at, "COORDINATION_CRASH_MARKS": str(marks)}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + READY_SECONDS
        while not SAID_READY.search(log.read_text(errors="replace")):
            if not self.alive or time.monotonic() > until:
                words = " ".join(log.read_text(errors="replace").split()[-40:])
                raise MemberDidNotStart(role=self.role, seconds=READY_SECONDS, words=words, log=str(log))
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)
        self._process = None


class Crew:
    """Both members, and the links that they reach the broker by (none over TLS: a relay would not pass for it)."""

    def __init__(self, queue: str, folder: Path, links: dict[str, Link], brokers: tuple[str, str]) -> None:
        self.folder, self._links = folder, links
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONUNBUFFERED": "1",
            "CRASH_DRILL_BROKER": brokers[0],
            "CRASH_DRILL_CELERY_BROKER": brokers[1],
        }
        self.node = Member("node", [], environment, folder)
        self.worker = Member("worker", [queue], environment, folder)

    @property
    def can_be_cut(self) -> bool:
        """Whether there is a link to cut."""
        return bool(self._links)

    def cut(self) -> None:
        """Cut the way to the broker, for both members."""
        for link in self._links.values():
            link.cut()

    def mend(self) -> None:
        """Mend it."""
        for link in self._links.values():
            link.mend()

    def of(self, point: Point) -> Member:
        """Who comes to that point."""
        return self.node if point in NODE_POINTS else self.worker


NODE_POINTS = (
    Point.CHUNK_SENT, Point.CHUNK_STORED, Point.VOTES_STORED, Point.DECIDING, Point.DECIDED, Point.TOLD_ONE,
    Point.ENDING, Point.ENDED,
)  # fmt: skip

WORKER_POINTS = (
    Point.STARTED, Point.PREPARING, Point.PREPARED, Point.VOTED, Point.VOTE_SENT, Point.FINISHING, Point.FINISHED,
)  # fmt: skip
POINTS = (*NODE_POINTS, *WORKER_POINTS)
"""Where the drill's batches come to."""


@contextlib.contextmanager
def crew(queue: str) -> Iterator[Crew]:
    """A crew that has not started; at the end of the block nothing of it runs. Its logs stay in ``folder``."""
    folder = Path(tempfile.mkdtemp(prefix="crash-drill-"))
    with contextlib.ExitStack() as stack:
        links: dict[str, Link] = {}
        ours, celerys = conf.broker_url(), str(current_app.conf.broker_write_url or current_app.conf.broker_url)
        brokers = tuple(_through(links, stack.enter_context, url) for url in (ours, celerys))
        made = Crew(queue, folder, links, (brokers[0], brokers[1]))
        stack.callback(made.node.stop)
        stack.callback(made.worker.stop)
        yield made


def _through(links: dict[str, Link], enter: Callable[[Link], Link], url: str) -> str:
    """``url`` led through a link, made if there is none to that broker yet; as it is if it cannot be."""
    try:
        broker = address.read(url)
    except address.BadBrokerUrl:
        return url
    if broker.scheme != "amqp":
        return url
    if str(broker) not in links:
        links[str(broker)] = enter(Link(broker.host, broker.port))
    credentials = f"{quote(broker.user, safe='')}:{quote(broker.password, safe='')}"
    return f"amqp://{credentials}@127.0.0.1:{links[str(broker)].port}/{quote(broker.vhost, safe='')}"
