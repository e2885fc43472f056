"""What may grow: memory, files, threads and connections, sampled while a soak goes on; each has to stay flat."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from tests.chaos.stage import Stage

PAGE = os.sysconf("SC_PAGE_SIZE")
EVERY_SECONDS = 5.0
QUEUES_EVERY = 6
"""Every so many samples the broker is asked too: that takes a second."""


@dataclass(frozen=True)
class Bound:
    """How much the last quarter's median may be above the second quarter's: a share of it, and so much besides.

    In the first quarter caches fill, and lazy things are made.
    """

    share: float
    more: float


BOUNDS = {
    "MB": Bound(0.08, 8),
    "files": Bound(0.1, 8),
    "threads": Bound(0.1, 6),
    "connections": Bound(0.1, 12),
    "queues": Bound(0.1, 12),
    "messages": Bound(0.1, 150),
}


SPARE = {"queues": 1, "connections": 12}
"""How much more there may be after the run than before the first batch: each of two nodes keeps a connection for each
of its journal's threads, which it opens when it first needs them."""


class Growth:
    """Samples in a thread of its own. Names are "what: unit", with a unit of ``BOUNDS``."""

    def __init__(self, stage: Stage, pids: Callable[[], dict[str, int]]) -> None:
        """``pids`` names the processes that live as long as the soak."""
        self._stage, self._pids = stage, pids
        self._series: dict[str, list[float]] = defaultdict(list)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="growth", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Sample no more."""
        self._ending.set()
        self._thread.join(60)

    def verdict(self) -> list[str]:
        """Print every series' medians a quarter; those that grew too much, in words."""
        return grown(self._series)

    def _run(self) -> None:
        looks = 0
        while not self._ending.wait(EVERY_SECONDS):
            self._look_at_processes()
            self._look_at_databases()
            if looks % QUEUES_EVERY == 0:
                self._look_at_the_broker()
            looks += 1

    def _look_at_processes(self) -> None:
        for name, pid in self._pids().items():
            place = Path(f"/proc/{pid}")
            try:
                pages = int((place / "statm").read_text().split()[1])
                found = {"files": len(list((place / "fd").iterdir())), "threads": len(list((place / "task").iterdir()))}
            except OSError:
                continue  # Its end is told elsewhere.
            for unit, value in {"MB": pages * PAGE / 2**20, **found}.items():
                self._series[f"{name}: {unit}"].append(value)

    def _look_at_databases(self) -> None:
        for server in (self._stage.postgres, self._stage.postgres2):
            try:
                self._series[f"{server.name}: connections"].append(server.connections())
            except psycopg.Error:
                continue  # It is away: that is what the faults are for.

    def _look_at_the_broker(self) -> None:
        try:
            queues = self._stage.rabbitmq.queues()
        except AssertionError:
            return  # It is away.
        self._series["broker: queues"].append(len(queues))
        self._series["broker: messages"].append(sum(queue.messages for queue in queues.values()))


def grown(series: Mapping[str, Sequence[float]]) -> list[str]:
    """As :meth:`Growth.verdict`."""
    found = []
    for name, values in sorted(series.items()):
        size = len(values) // 4
        if size < 3:
            found.append(f"{name}: only {len(values)} samples, which says nothing")
            continue
        quarters = [median(values[place * size : (place + 1) * size]) for place in range(4)]
        bound = BOUNDS[name.rpartition(" ")[2]]
        grew = quarters[3] > quarters[1] * (1 + bound.share) + bound.more
        words = ", ".join(f"{quarter:.1f}" for quarter in quarters)
        print(f"  {name}: {words}; most {max(values):.1f}{'  GREW' * grew}")
        if grew:
            found.append(f"{name} grew: by quarters of the run {words}")
    return found


def baseline(stage: Stage) -> dict[str, float]:
    """Queues, connections and prepared transactions at this moment."""
    return {
        "queues": len(stage.rabbitmq.queues()),
        "postgres1: connections": stage.postgres.connections(),
        "postgres2: connections": stage.postgres2.connections(),
        "prepared transactions": len(stage.site.prepared()),
    }


def back_to(before: dict[str, float], stage: Stage, seconds: float) -> list[str]:
    """Wait until nothing is above ``before`` by more than a little; what still is after ``seconds``."""
    until = time.monotonic() + seconds
    while True:
        now = baseline(stage)
        above = [
            f"{name}: {now[name]:g} after the run, {value:g} before it"
            for name, value in before.items()
            if now[name] > value + SPARE.get(name.rpartition(" ")[2], 0)
        ]
        if not above or time.monotonic() > until:
            print(f"at the end: {now}; before the first batch: {before}")
            return above
        time.sleep(3)
