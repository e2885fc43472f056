"""One run of each kind: start it, wait for its end, look whether all its rows are there. Times are in seconds."""

import gc
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.services import CHORD, PLAIN, RESULTS
from tests.services import Site

TIMEOUT = 180.0


def batch(site: Site, tasks: int, queue: str = PLAIN) -> tuple[float, dict[str, float]]:
    """(a) Our batch: from launch() to the last branch's commit as the journal has it, and its phases."""
    from coordination.api import launch

    begun = time.time()
    launched = launch(queue, "bench", {"tasks": tasks})
    returned = time.time()
    with site.postgres.connect("journal") as journal:
        until = begun + TIMEOUT
        while True:
            row = journal.execute("SELECT state FROM coordination_batch WHERE id = %s", [launched.id]).fetchone()
            if row is not None and row[0] in ("COMMITTED", "ROLLED_BACK", "MIXED"):
                break
            if time.time() > until:
                raise TimeoutError(f"The batch is {row} after {TIMEOUT:g} s")
            time.sleep(0.01)
        if row[0] != "COMMITTED":
            raise RuntimeError(f"The batch ended {row[0]}, not COMMITTED")
        found = journal.execute(_PHASES, [launched.id]).fetchone()
    assert found is not None
    names = [
        *("dispatched", "first started", "last started", "first prepared", "last prepared", "decided"),
        *("first finished", "last finished", "ended"),
    ]
    phases = {"launch returned": returned - begun}
    phases |= {name: float(at) - begun for name, at in zip(names, found, strict=True)}
    with site.postgres.connect("journal") as journal:
        work, prepare = journal.execute(_EVIDENCE, [launched.id]).fetchone() or (0, 0)
    phases |= {"work, all tasks": float(work) / 1000, "prepare, all tasks": float(prepare) / 1000}
    _check(site, launched.id, tasks)
    return phases["last finished"], phases


_PHASES = """
    SELECT extract(epoch FROM b.dispatched), extract(epoch FROM min(r.started)), extract(epoch FROM max(r.started)),
           extract(epoch FROM min(r.prepared)), extract(epoch FROM max(r.prepared)), extract(epoch FROM b.decided),
           extract(epoch FROM min(r.finished)), extract(epoch FROM max(r.finished)), extract(epoch FROM b.ended)
    FROM coordination_batch b JOIN coordination_branch r ON r.batch_id = b.id WHERE b.id = %s GROUP BY b.id
"""

# Milliseconds, as each worker process measured them and sent along with its votes.
_EVIDENCE = """
    SELECT sum((evidence->>'work_ms')::float), sum((evidence->>'prepare_ms')::float)
    FROM coordination_branch WHERE batch_id = %s
"""


def with_results(site: Site, tasks: int) -> tuple[float, dict[str, float]]:
    """(a) with django-celery-results keeping each task's result."""
    return batch(site, tasks, RESULTS)


def bare_group(site: Site, tasks: int) -> float:
    """(b) From the group's dispatch to its last commit."""
    from bench.tasks import bare

    return _timed(site, tasks, tasks, lambda run: _group(bare, run, tasks))


def kept_group(site: Site, tasks: int) -> float:
    """(b') The same, on kept connections."""
    from bench.tasks import bare_kept

    return _timed(site, tasks, tasks, lambda run: _group(bare_kept, run, tasks))


def by_hand(site: Site, tasks: int) -> float:
    """(c) From the chord's dispatch to the last COMMIT PREPARED of its callback."""
    from bench.by_hand import start

    return _timed(site, tasks, 1, lambda run: start(run, tasks, CHORD))


def _group(task: Any, run: str, tasks: int) -> None:
    from celery import group

    signatures = (task.s(run, number).set(ignore_result=True) for number in range(1, tasks + 1))
    group(signatures).apply_async(queue=PLAIN)


def _timed(site: Site, tasks: int, marks: int, start: Callable[[str], None]) -> float:
    run, done = str(uuid.uuid4()), Path(site.settings["BENCH_DONE"])
    wanted = done.stat().st_size + marks
    begun = time.time()
    start(run)
    while done.stat().st_size < wanted:
        if time.time() > begun + TIMEOUT:
            raise TimeoutError(f"{wanted - done.stat().st_size} of {marks} are missing after {TIMEOUT:g} s")
        time.sleep(0.002)
    took = time.time() - begun
    gc.collect()  # Celery's result objects talk to Redis when they go, which must be while it is there.
    _check(site, run, tasks)
    return took


def _check(site: Site, run: Any, tasks: int) -> None:
    """A figure counts only if the work was done."""
    rows = site.value("demo_ledger", "SELECT count(*) FROM demo_entry WHERE batch_id = %s", [run])
    if rows != tasks * 10:
        raise RuntimeError(f"{rows} rows are there, not {tasks * 10}")
    if site.prepared():
        raise RuntimeError(f"{len(site.prepared())} transactions are still prepared")
