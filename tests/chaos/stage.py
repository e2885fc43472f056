"""What a run plays on: private services, two nodes and two workers behind proxies, and who starts them again."""

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.load.tables import DATABASES, TABLES
from tests.services import PostgreSQL, Process, RabbitMQ, Redis, Scratch, Site
from tests.services.proxy import Proxy

LOOK_SECONDS = 0.2
STOPPED_SECONDS = 3.0
"""How long a process that a crash point stopped stands still."""
CHILD_KILLED_AT_START = "Could not start worker processes"
"""What Celery says when it ends because a pool child was killed before it was up. Its supervisor starts it again."""
TARGETS = tuple(f"demo_{name}" for name in DATABASES)


@dataclass
class Member:
    """A node or a worker: its way to each service, and its process. ``lock`` is held by whoever acts on it."""

    name: str
    broker: Proxy
    first: Proxy
    second: Proxy
    process: Process | None = None
    marks: Path | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    continued: bool = False

    @property
    def is_node(self) -> bool:
        """Whether it is a node."""
        return self.name.startswith("node")

    def proxies(self) -> tuple[Proxy, Proxy, Proxy]:
        """Its ways to the broker and to the two database servers."""
        return self.broker, self.first, self.second

    def struck(self) -> list[Path]:
        """The mark of the crash point that it was armed for, if that has struck."""
        return [] if self.marks is None else [path for path in self.marks.iterdir() if path.stat().st_size]


class Stage:
    """The services and the members. ``defect`` is put into each member (:mod:`tests.chaos.defects`)."""

    def __init__(self, *, defect: str = "") -> None:
        self.scratch = Scratch()
        self.rabbitmq = RabbitMQ(scratch=self.scratch)
        self.postgres = PostgreSQL("postgres1", scratch=self.scratch, databases=["journal", *TARGETS[:2]])
        self.postgres2 = PostgreSQL("postgres2", scratch=self.scratch, databases=[TARGETS[2]])
        self.redis = Redis(scratch=self.scratch)
        self.site = Site(
            scratch=self.scratch, rabbitmq=self.rabbitmq, postgres=self.postgres, postgres2=self.postgres2,
            redis=self.redis,
        )  # fmt: skip
        self.site.settings |= {
            "COORDINATION_APPS": "tests.chaos.load", "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "CELERY_RESULT_BACKEND": "disabled",
        }  # fmt: skip
        self.members: list[Member] = []
        self.exits: list[str] = []
        """Members that ended although nobody had killed them, in words."""
        self.armed: dict[str, int] = {}
        """Crash points that have struck, and how often."""
        self._defect = defect
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self.server_locks = {server.name: threading.RLock() for server in self.servers()}

    def servers(self) -> tuple[PostgreSQL | RabbitMQ | Redis, ...]:
        """All servers."""
        return self.rabbitmq, self.postgres, self.postgres2, self.redis

    def start(self) -> None:
        """Start everything; afterwards this process can use Django on the site's databases, past the proxies."""
        self.site.start()
        for alias in TARGETS:
            for statement in TABLES:
                self.site.query(alias, statement)
        os.environ.update(self.site.env | {"LOG_LEVEL": "WARNING"})
        import django

        django.setup()
        _make_customers()
        ports = (self.rabbitmq.port, self.postgres.port, self.postgres2.port)
        for name in ("node 1", "node 2", "worker 1", "worker 2"):
            broker, first, second = map(Proxy, ports)
            self.members.append(Member(name, broker, first, second))
        for member in self.members:
            self.launch(member, wait=False)
        for member in self.members:
            assert member.process is not None
            member.process.wait_for("Node .* ready" if member.is_node else r"@test ready\.", 60)
        self._keeper.start()

    def launch(self, member: Member, arm: str = "", *, wait: bool = False) -> None:
        """Start ``member``'s process, armed for a crash point or not."""
        env = self._env(member)
        member.marks, member.continued = None, False
        if arm:
            member.marks = Path(self.scratch.folder, f"marks-{time.monotonic_ns()}")
            member.marks.mkdir()
            env |= {"COORDINATION_CRASH_AT": arm, "COORDINATION_CRASH_MARKS": str(member.marks)}
        if member.is_node:
            member.process = self.site.node(env=env, wait=wait)
        else:
            # The first can be watched for as long as it lives: all that it does is in one process.
            pool, slots = ("threads", 6) if member.name == "worker 1" else ("prefork", 3)
            member.process = self.site.worker(pool, slots, env=env, wait=wait)  # type: ignore[arg-type]

    def heal(self) -> None:
        """Everything runs and passes, and what starts from now on is armed for nothing."""
        for server in self.servers():
            with self.server_locks[server.name]:
                server.start()
        for member in self.members:
            with member.lock:
                for proxy in member.proxies():
                    proxy.pass_on()
                if member.process is not None and member.process.alive:
                    member.process.resume()
                    for mark in member.struck():
                        _continue(mark)
                else:
                    self.launch(member)

    def stop(self) -> None:
        """End everything and remove what it left."""
        self._ending.set()
        if self._keeper.is_alive():
            self._keeper.join(10)
        for member in self.members:
            if member.process is not None and member.process.alive:
                member.process.resume()
        self.site.stop_processes()
        for member in self.members:
            for proxy in member.proxies():
                proxy.stop()
        for server in self.servers():
            server.stop()
        self.scratch.close()

    def stop_processes(self) -> dict[str, int | None]:
        """Ask every member to end, and say how each ended."""
        self._ending.set()
        self._keeper.join(10)
        return {member.name: member.process.stop(30) for member in self.members if member.process is not None}

    # --- who starts again what a crash point ended ----------------------------------------------------------------

    def _keep(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            for member in self.members:
                if member.lock.acquire(blocking=False):
                    try:
                        self._look_after(member)
                    finally:
                        member.lock.release()

    def _look_after(self, member: Member) -> None:
        process = member.process
        assert process is not None
        struck = member.struck()
        if struck and not member.continued:
            member.continued = True
            self.armed[struck[0].name] = self.armed.get(struck[0].name, 0) + 1
            timer = threading.Timer(STOPPED_SECONDS, _continue, struck)
            timer.daemon = True
            timer.start()
        if process.alive:
            return
        if not struck and CHILD_KILLED_AT_START not in process.log:
            self.exits.append(f"{member.name} ended by itself with {process.returncode}:\n{process.tail(25)}")
        process.kill()
        self.launch(member)

    def _env(self, member: Member) -> dict[str, str]:
        first = f"postgresql://postgres@127.0.0.1:{member.first.port}"
        second = f"postgresql://postgres@127.0.0.1:{member.second.port}"
        targets = {TARGETS[0]: first, TARGETS[1]: first, TARGETS[2]: second}
        return {
            "AMQP_URL": f"amqp://guest:guest@127.0.0.1:{member.broker.port}/",
            "DATABASE_URL": f"{first}/journal",
            "TARGET_DATABASES": ",".join(f"{alias}={url}/{alias}" for alias, url in targets.items()),
            "CHAOS_DEFECT": self._defect,
        }


def _continue(mark: Path) -> None:
    """Continue the process that stopped itself there; if it killed itself it is gone."""
    with contextlib.suppress(ProcessLookupError, ValueError, OSError):
        os.kill(int(mark.read_text()), signal.SIGCONT)


def _make_customers() -> None:
    from coordination.models import Customer, CustomerDatabase

    for slug in ("one", "two"):
        customer = Customer.objects.create(slug=slug, name=slug.title())
        for name in DATABASES:
            granted: Any = {"customer": customer, "name": name, "alias": f"demo_{name}"}
            CustomerDatabase.objects.create(**granted)
