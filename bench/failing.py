"""A batch that fails early against one that commits; and how fast its tasks that never ran leave the queue.

1.  2,000 tasks, of which number 50 fails, and 2,000 of which none does: from launch() to the end, in turns.
2.  2,000 tasks on the queue of a worker that stands still; it goes on, number 50 fails, and the others are dropped. A
    bare group of 2,000 empty tasks waits on the same worker's queue in the same way. Compared is how long it takes from
    so many tasks on the queue, as many as there were when the batch was decided, to none.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from bench.services import PLAIN
from tests.services import Process, Site

TASKS, FAIL_AT = 2_000, 50
TIMEOUT = 120.0
PREFETCHED = 50
"""A worker that stands still may have taken so many from the queue, at the most."""
MOST_TIME, MOST_LEAVING = 1 / 3, 1.0
"""The bars: of the committing batch's time; of the empty tasks' time to leave the queue."""


def run(site: Site, rounds: int) -> None:
    """A round that does not count, then ``rounds``; print the figures."""
    times: dict[str, list[float]] = {"commits": [], "fails": []}
    leaving: dict[str, list[float]] = {"never ran": [], "empty": []}
    counts = []
    for number in range(rounds + 1):
        for kind in ("commits", "fails") if number % 2 else ("fails", "commits"):
            took = _batch(site, FAIL_AT if kind == "fails" else 0)
            times[kind] += [took] if number else []
            time.sleep(0.5)
        dropped = _dropped(site)
        time.sleep(0.5)
        empty = _empty(site)
        left = min(dropped.left, TASKS - PREFETCHED)
        if number:
            counts.append(left)
            leaving["never ran"].append(dropped.since(left) / left)
            leaving["empty"].append(empty.since(left) / left)
        time.sleep(0.5)
    print(f"\n{TASKS:,} tasks of 10 rows, of which number {FAIL_AT} fails or none; launch() to the batch's end")
    _print(times, "ms", "fails", "commits", MOST_TIME)
    print(f"\ntasks that leave the queue: {min(counts)} to {max(counts)} of {TASKS} were on it at the decision")
    _print(leaving, "ms a task", "never ran", "empty", MOST_LEAVING)


def _print(found: dict[str, list[float]], unit: str, ours: str, theirs: str, bar: float) -> None:
    for kind, values in found.items():
        raw = "  ".join(f"{value * 1000:8.2f}" for value in values)
        print(f"  {kind:10} {statistics.median(values) * 1000:8.2f} {unit}   runs: {raw}")
    ratio = statistics.median(found[ours]) / statistics.median(found[theirs])
    each = sorted(a / b for a, b in zip(found[ours], found[theirs], strict=True))
    verdict = "yes" if ratio <= bar else "NO"
    print(f"  {ours}/{theirs} {ratio:.2f}, by round {each[0]:.2f} to {each[-1]:.2f}   at most {bar:.2f}: {verdict}")


def _launch(fail_at: int) -> UUID:
    from coordination.api import launch

    return launch(PLAIN, "failing", {"tasks": TASKS, "fail_at": fail_at}).id


def _batch(site: Site, fail_at: int) -> float:
    """Seconds from launch() to the end."""
    begun = time.time()
    return _wait_for_end(site, _launch(fail_at), fail_at) - begun


def _wait_for_end(site: Site, batch: UUID, fail_at: int) -> float:
    """When it ended; raises RuntimeError if not as it must."""
    sql = "SELECT state, extract(epoch FROM ended)::float8 FROM coordination_batch WHERE id = %s AND ended IS NOT NULL"
    with site.postgres.connect("journal") as journal:
        row: Any = _wait(lambda: journal.execute(sql, [batch]).fetchone(), "the batch's end")
    wanted = "ROLLED_BACK" if fail_at else "COMMITTED"
    rows = site.value("demo_ledger", "SELECT count(*) FROM demo_entry WHERE batch_id = %s", [batch])
    if row[0] != wanted or rows != (0 if fail_at else TASKS * 10) or site.prepared():
        raise RuntimeError(f"The batch ended {row[0]} with {rows} rows, and {len(site.prepared())} prepared")
    return float(row[1])


@dataclass(frozen=True)
class _Leaving:
    """How many tasks were on the queue, and when: from the moment the worker went on until there was none."""

    seen: list[tuple[float, int]]
    left: int = 0

    def since(self, count: int) -> float:
        """Seconds from ``count`` on the queue to none."""
        first = next(at for at, waiting in self.seen if waiting <= count)
        return self.seen[-1][0] - first


def _dropped(site: Site) -> _Leaving:
    """Of a batch that fails: ``left`` were on the queue at its decision."""
    batch: list[UUID] = []
    found = _on_a_standing_worker(site, lambda: batch.append(_launch(FAIL_AT)))
    _wait_for_end(site, batch[0], FAIL_AT)
    sql = "SELECT extract(epoch FROM decided)::float8 FROM coordination_batch WHERE id = %s"
    decided = site.value("default", sql, batch)
    return _Leaving(found.seen, left=next(waiting for at, waiting in found.seen if at >= decided))


def _empty(site: Site) -> _Leaving:
    """Of a bare group of empty tasks."""
    from celery import group

    from bench.tasks import empty

    return _on_a_standing_worker(site, lambda: group(empty.s() for _ in range(TASKS)).apply_async(queue=PLAIN))


def _on_a_standing_worker(site: Site, start: Callable[[], object]) -> _Leaving:
    worker = _worker(site)
    connection = site.rabbitmq.connect()
    channel = connection.channel()

    def waiting() -> int:
        return int(channel.queue_declare(PLAIN, passive=True).message_count)

    try:
        worker.suspend()
        try:
            start()
            _wait(lambda: waiting() >= TASKS - PREFETCHED, "all tasks on the queue")
        finally:
            worker.resume()
        seen = [(time.time(), waiting())]
        until = time.time() + TIMEOUT
        while seen[-1][1]:
            if time.time() > until:
                raise TimeoutError(f"{seen[-1][1]} tasks are on the queue after {TIMEOUT:g} s")
            time.sleep(0.002)
            seen.append((time.time(), waiting()))
        return _Leaving(seen)
    finally:
        connection.close()


def _worker(site: Site) -> Process:
    return next(process for process in site.processes if process.name.startswith("worker"))


def _wait(condition: Callable[[], Any], what: str) -> Any:
    until = time.time() + TIMEOUT
    while not (found := condition()):
        if time.time() > until:
            raise TimeoutError(f"Waited {TIMEOUT:g} s for {what}")
        time.sleep(0.005)
    return found
