"""One schedule: a list of work that could be done next, picked from at random, timers, and a clock that is a number."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from coordination.protocol.attempt import Attempt
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.holdings import SWEEP_AGES, Holdings, SweepMemory
from coordination.protocol.journal_rules import CLEANUP, TAKEOVER, Cleanup, Takeover, answer_stray, must_clean_up
from coordination.protocol.states import Kind

from . import faults
from .bus import Bus, Task
from .checks import Checks, Violation
from .databases import Databases, Tx
from .journal import Journal
from .manager import Manager
from .node import Node
from .weather import FAR, Weather, draw
from .worker import Worker

T = TypeVar("T")
BATCH = UUID(int=0xBA7C4)
CALM_STEPS = 6_000
"""Steps after the faults within which everything must be over."""
CALM_SECONDS = 20_000.0
DEADLINE_AFTER = 2_500.0
"""Seconds after the faults at which a far deadline comes."""


@dataclass(kw_only=True)
class Parts:
    """What is judged. A mutant is this with one part exchanged for a broken one."""

    coordinator: Callable[..., Coordinator] = Coordinator
    attempt: Callable[[str], Attempt] = Attempt
    holdings: Callable[[str], Holdings] = Holdings
    sweep_memory: Callable[[str], SweepMemory] = SweepMemory
    answer_stray: Callable[..., Any] = answer_stray
    must_clean_up: Callable[..., bool] = must_clean_up
    takeover: tuple[Takeover, ...] = TAKEOVER
    cleanup: tuple[Cleanup, ...] = CLEANUP
    cleanup_looks_at_the_epoch: bool = True
    journal: type[Journal] = Journal
    databases: type[Databases] = Databases
    manager: type[Manager] = Manager
    node: type[Node] = Node
    worker: type[Worker] = Worker
    weather: Callable[[Random], Weather] = draw
    checks: type[Checks] = Checks


class World:
    """Everything there is in one schedule."""

    installation = "5eed5eed"
    batch = BATCH

    def __init__(self, seed: int, parts: Parts | None = None, *, tracing: bool = False) -> None:
        self.rng = Random(seed)
        self.roll = self.rng.random
        self.parts = parts or Parts()
        self.tracing, self.trace = tracing, list[str]()
        self.now, self.steps, self.is_calm, self.wipes = 0.0, 0, False, 0
        self.ops: list[tuple[Any, str, Callable[..., None], tuple[Any, ...]]] = []
        self.timers: list[tuple[float, int, Any, str, Callable[..., None], tuple[Any, ...]]] = []
        self._timer_number = self._tokens = self._names = 0
        self.weather = self.parts.weather(self.rng)
        if seed % 10 == 9:
            self.weather.faults.append("declare")
        self.checks = self.parts.checks(self)
        self.journal = self.parts.journal(BATCH, self.weather.aliases, self.checks)
        self.journal.deadline = self.weather.deadline
        self.bus = Bus(self)
        self.databases = self.parts.databases(self)
        self.nodes: list[Node] = []
        self.all_managers: list[Manager] = []
        self.workers: dict[str, Worker] = {}
        for _ in range(2):
            self.start_node()
            self.start_worker()
        self.nodes[0].claim()
        if self.weather.restored:
            for number in self.journal.rows:
                self.bus.send_task(Task(number, again=False))
        self.after(5.0, None, "scan", self._scan)
        self.after(5.0, None, "sweep", self._sweep)
        self.after(30.0, None, "remind", self._remind)

    # --- chance, work and time --------------------------------------------------------------------------------

    def pick(self, things: list[T]) -> T:
        """Any of ``things``."""
        return things[int(self.roll() * len(things))]

    def take(self, things: list[T]) -> T:
        """Any of ``things``, removed from them."""
        return things.pop(int(self.roll() * len(things)))

    def number(self, least: int, most: int) -> int:
        """A whole number from ``least`` to ``most``."""
        return least + int(self.roll() * (most - least + 1))

    def uniform(self, least: float, most: float) -> float:
        """A number between ``least`` and ``most``."""
        return least + self.roll() * (most - least)

    def token(self) -> str:
        """The random part of the next gid: unique, and the same in every run of this seed."""
        self._tokens += 1
        return f"{self._tokens:016x}"

    def op(self, owner: Any, name: str, work: Callable[..., None], *args: Any) -> None:
        """``work`` can be done from now on, unless ``owner`` dies first."""
        self.ops.append((owner, name, work, args))

    def after(self, seconds: float, owner: Any, name: str, work: Callable[..., None], *args: Any) -> None:
        """``work`` is due in ``seconds``."""
        self._timer_number += 1
        heapq.heappush(self.timers, (self.now + seconds, self._timer_number, owner, name, work, args))

    def note(self, who: str, what: str) -> None:
        """A line of the trace."""
        if self.tracing:
            self.trace.append(f"{self.steps:5d} {self.now:9.2f} {who:10s} {what}")

    # --- the run ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The schedule, from launch to the last trace of the batch. Raises Violation."""
        self.note("weather", str(self.weather))
        for _ in range(self.weather.steps):
            self.step()
        self._calm_down()
        while not self._over():
            self.step()
            if self.steps > CALM_STEPS or self.now > CALM_SECONDS:
                raise self.checks.broken("I5", f"not over after {self.steps} steps, {self.now:.0f} s: {self._left()}")
        self.checks.finally_holds()

    def step(self) -> None:
        """One thing happens."""
        self.steps += 1
        weather, roll = self.weather, self.roll
        if weather.fault_rate and weather.faults and roll() < weather.fault_rate:
            fault = self.pick(weather.faults)
            self.note("FAULT", fault)
            getattr(faults, fault)(self)
        ops = self.ops
        if not ops or (weather.timers and roll() < weather.timers):
            self._fire()
            return
        self.now += 0.02
        index = int(roll() * len(ops))
        owner, _, work, args = ops[index]
        if owner is not None and owner.paused:
            if all(o is not None and o.paused for o, *_ in ops):
                self._fire()
            return
        ops[index] = ops[-1]
        ops.pop()
        if owner is None or owner.alive:
            work(*args)

    def _fire(self) -> None:
        due, _, owner, _, work, args = heapq.heappop(self.timers)
        self.now = max(self.now, due)
        if owner is None or owner.alive:
            if owner is not None and owner.paused:
                self.after(1.0, owner, "paused", work, *args)
            else:
                work(*args)

    def _calm_down(self) -> None:
        self.note("CALM", "nothing goes wrong from here on")
        self.checks.faults_stop()
        self.weather.calm()
        self.is_calm = True
        for manager in self.all_managers:
            if manager.alive:
                manager.resume_from_pause()
        if self.journal.deadline >= FAR:
            self.journal.deadline = self.now + DEADLINE_AFTER

    def _over(self) -> bool:
        """Nothing is left to do, and nothing of the batch is left anywhere."""
        return not self.ops and not self._left()

    def _left(self) -> list[str]:
        journal, left = self.journal, []
        if not journal.ended:
            left.append(f"the batch is {journal.state}")
        if not ((journal.queue_deleted or journal.pruned) and self.bus.empty()):
            left.append("something on the broker")
        if self.databases.prepared:
            left.append(f"prepared {[g[-6:] for g in self.databases.prepared]}")
        if any(tx.parked and tx.status is Tx.OPEN for tx in self.databases.all.values()):
            left.append("held connections")
        for worker in self.living_workers():
            if worker.running or worker.outbox or worker.orders or worker.holdings.held():
                left.append(f"{worker.name} runs, says or holds something")
        if any(m.alive for m in self.all_managers):
            left.append("a manager")
        return left

    # --- who is there -----------------------------------------------------------------------------------------

    def living_workers(self) -> list[Worker]:
        """Worker processes that run."""
        return [w for w in self.workers.values() if w.alive]

    def start_node(self) -> None:
        """A node starts."""
        self._names += 1
        self.nodes = [n for n in self.nodes if n.alive]
        self.nodes.append(self.parts.node(self, f"node{self._names}"))

    def start_worker(self) -> None:
        """A worker process starts."""
        self._names += 1
        name = f"p{self._names}"
        self.workers[name] = self.parts.worker(self, name)
        for _ in self.bus.tasks:
            self.op(None, "task", self.give_task)
        for alias, orders in self.bus.recovery.items():
            for _ in orders:
                self.op(None, "recover", self.give_recovery, alias)

    def mailbox_is_read(self, process: str) -> bool:
        """What a passive declare tells."""
        worker = self.workers.get(process)
        return worker is not None and worker.alive and process in self.bus.mailboxes

    def give_task(self) -> None:
        """Celery delivers a task; a worker that groups takes more of the same database with it."""
        workers = self.living_workers()
        tasks = self.bus.tasks
        if not tasks or not workers:
            return
        taken = [self.take(tasks)]
        aliases, alias = self.weather.aliases, self.weather.aliases[taken[0].branch - 1]
        if self.weather.grouped and self.weather.kinds[alias] is Kind.TWO_PHASE and self.roll() < self.weather.grouped:
            for task in list(tasks):
                fresh = task.branch not in {t.branch for t in taken}
                if fresh and aliases[task.branch - 1] == alias and len(taken) < 3:
                    tasks.remove(task)
                    taken.append(task)
        self.pick(workers).run(taken)

    def give_stray(self) -> None:
        """Some node takes a stray."""
        nodes = [n for n in self.nodes if n.alive]
        if self.bus.strays and nodes:
            self.pick(nodes).take_stray(self.take(self.bus.strays))

    def give_recovery(self, alias: str) -> None:
        """Some agent takes an order from a recovery queue."""
        workers = self.living_workers()
        if self.bus.recovery[alias] and workers:
            self.pick(workers).take_order(alias, self.take(self.bus.recovery[alias]))

    # --- what happens from time to time -----------------------------------------------------------------------

    def _scan(self) -> None:
        nodes = [n for n in self.nodes if n.alive]
        if nodes:
            self.pick(nodes).scan()
        for _ in self.bus.strays:
            self.op(None, "stray", self.give_stray)
        self.after(5.0, None, "scan", self._scan)

    def _sweep(self) -> None:
        workers = self.living_workers()
        if workers and self.databases.prepared:
            self.pick(workers).sweep()
        self.after(5.0 if not self.is_calm else self._until_next_sweep(), None, "sweep", self._sweep)

    def _until_next_sweep(self) -> float:
        """When nothing else goes on, the sweeps between two ages of a gid find nothing due: skip them."""
        waits = []
        for tx in self.databases.prepared.values():
            age = self.now - tx.prepared_at
            limits = [limit for limit in SWEEP_AGES if limit > age] or [(age // 300 + 1) * 300]
            waits.append(limits[0] - age + 0.01)
        return max(5.0, min(waits, default=5.0))

    def _remind(self) -> None:
        for worker in self.living_workers():
            worker.remind()
        self.after(30.0, None, "remind", self._remind)


__all__ = ["Parts", "Violation", "World"]
