"""Carrying a drawn fault out on the stage, and mending it."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.chaos.plan import Fault, Kind
from tests.chaos.stage import Member, Stage
from tests.services import PostgreSQL, RabbitMQ, Redis
from tests.services.proxy import Proxy


@dataclass(frozen=True)
class Struck:
    """A fault that happened: when it began and when it was mended, in seconds since 1970, and to whom."""

    fault: Fault
    target: str
    began: float
    mended: float


class Faults:
    """Carries faults out, each in a thread: they overlap, but no two at the same process or server."""

    def __init__(self, stage: Stage, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._say = say
        self._threads: list[threading.Thread] = []
        self.struck: list[Struck] = []
        self.failed: list[str] = []
        """Faults that could not be carried out or mended, in words: then the run says nothing."""

    def strike(self, fault: Fault) -> None:
        """Begin ``fault``; returns at once."""
        thread = threading.Thread(target=self._carry_out, args=(fault,), name=fault.kind, daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self) -> None:
        """Until all are mended."""
        for thread in self._threads:
            thread.join(180)
            if thread.is_alive():
                self.failed.append(f"{thread.name} was not mended within 180 s")

    def _carry_out(self, fault: Fault) -> None:
        target, lock, act = self._act(fault)
        try:
            with lock:
                began = time.time()
                self._say(f"{fault.kind}: {target}, {fault.seconds:g} s" + (f", then {fault.arm}" * bool(fault.arm)))
                act()
                self.struck.append(Struck(fault, target, began, time.time()))
        except Exception as error:
            self.failed.append(f"{fault.kind} of {target}: {type(error).__name__}: {error}")

    def _act(self, fault: Fault) -> tuple[str, AbstractContextManager[bool], Callable[[], None]]:
        """The name of what it strikes, that one's lock, and what to do."""
        stage = self._stage
        nodes, workers = stage.members[:2], stage.members[2:]
        match fault.kind:
            case Kind.KILL_NODE | Kind.PAUSE_NODE:
                member = nodes[fault.which % 2]
            case Kind.KILL_WORKER | Kind.PAUSE_WORKER:
                member = workers[fault.which % 2]
            case Kind.KILL_CHILD:
                member = workers[1]
            case _:
                member = stage.members[fault.which % 4]
        databases: list[PostgreSQL] = [stage.postgres, stage.postgres2]
        database = databases[fault.which % 2]
        match fault.kind:
            case Kind.RESTART_BROKER:
                return "broker", stage.server_locks["rabbitmq"], lambda: _restart(stage.rabbitmq, fault)
            case Kind.PAUSE_BROKER:
                return "broker", stage.server_locks["rabbitmq"], lambda: _pause(stage.rabbitmq, fault)
            case Kind.RESTART_REDIS:
                return "redis", stage.server_locks["redis"], lambda: _restart(stage.redis, fault)
            case Kind.KILL_DATABASE:
                return database.name, stage.server_locks[database.name], lambda: _restart(database, fault)
            case Kind.PAUSE_DATABASE:
                return database.name, stage.server_locks[database.name], lambda: _pause(database, fault)
        return member.name, member.lock, lambda: _act_on(stage, member, fault)


def _restart(server: RabbitMQ | PostgreSQL | Redis, fault: Fault) -> None:
    server.kill()
    time.sleep(fault.seconds)
    server.start()


def _pause(server: RabbitMQ | PostgreSQL, fault: Fault) -> None:
    server.suspend()
    try:
        time.sleep(fault.seconds)
    finally:
        server.resume()


def _act_on(stage: Stage, member: Member, fault: Fault) -> None:
    process = member.process
    assert process is not None
    match fault.kind:
        case Kind.KILL_NODE | Kind.KILL_WORKER:
            process.kill()
            time.sleep(fault.seconds)
            stage.launch(member, fault.arm)
        case Kind.PAUSE_NODE | Kind.PAUSE_WORKER if process.alive:
            process.suspend()
            time.sleep(fault.seconds)
            process.resume()
        case Kind.KILL_CHILD:
            children = process.children()
            if children:
                os.kill(children[fault.which % len(children)], signal.SIGKILL)
        case Kind.RESET_BROKER:
            # Seen by the process alone: the broker notices by its heartbeat.
            member.broker.reset_clients()
        case Kind.RESET_DATABASES:
            member.first.cut()
            member.second.cut()
        case Kind.HOLE_BROKER:
            _hole([member.broker], fault)
        case Kind.HOLE_DATABASES:
            _hole([member.first, member.second], fault)


def _hole(proxies: list[Proxy], fault: Fault) -> None:
    for proxy in proxies:
        proxy.black_hole()
    time.sleep(fault.seconds)
    for proxy in proxies:
        proxy.pass_on()
