"""Many batches at once on one node with one worker: 200 of 50 tasks, for three customers, a third of them failing.

How long a batch waits for its decision is measured from the end of the last task's body: that is before its vote, which
is stored in one transaction with the decision.
"""

import os
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.services import PLAIN
from tests.integration.batches import launch_together
from tests.services import Process, Site

BATCHES, TASKS = 200, 50
CUSTOMERS = ("acme", "globex", "initech")
DATABASES = ("ledger", "warehouse", "crm")
MOST_MEMORY = 300
"""What the node may hold at its peak, in MB."""
TIMEOUT = 300.0
EVERY = 0.25
"""Seconds between two looks at how many have ended."""


@dataclass(frozen=True)
class Ended:
    """A batch after its end; times are seconds since 1970, by clocks of this machine."""

    state: str
    fail_at: int
    last_vote: float
    """When the body of the task whose vote made the decision possible returned, or raised."""
    decided: float
    ended: float


def run(site: Site) -> None:
    """Launch all, wait for their ends, check each, and print the figures."""
    _customers()
    node = site.processes[0]
    before = _cpu_seconds(node)
    begun = time.time()
    fail_at = dict(_launch())
    launched = time.time() - begun
    _wait(site, len(fail_at), begun + TIMEOUT)
    cpu = _cpu_seconds(node) - before
    ended = _read(site, fail_at)
    took = max(batch.ended for batch in ended) - begun
    _check(site, ended)
    _report(ended, launched=launched, took=took, cpu=cpu, memory=_peak_memory(node), begun=begun)


def _customers() -> None:
    from coordination.models import Customer, CustomerDatabase

    for slug in CUSTOMERS:
        customer = Customer.objects.create(slug=slug, name=slug, queue=PLAIN)
        for name in DATABASES:
            CustomerDatabase.objects.create(customer=customer, name=name, alias=f"demo_{name}")


def _launch() -> Sequence[tuple[str, int]]:
    """Launch all together; the id of each and the number of its task that fails, 0 for none."""
    fail_at = [1 + number * 7 % TASKS if number % 3 == 1 else 0 for number in range(BATCHES)]
    wanted = [
        (CUSTOMERS[number // 3 % 3], "many", {"tasks": TASKS, "fail_at": failing})
        for number, failing in enumerate(fail_at)
    ]
    return list(zip(launch_together(wanted, 8), fail_at, strict=True))


def _wait(site: Site, batches: int, until: float) -> None:
    with site.postgres.connect("journal") as journal:
        while True:
            sql = "SELECT state, count(*) FROM coordination_batch WHERE ended IS NULL GROUP BY 1"
            left = dict(journal.execute(sql).fetchall())
            if not left:
                return
            if time.time() > until:
                raise TimeoutError(f"Of {batches} batches these are left after {TIMEOUT:g} s: {left}")
            time.sleep(EVERY)


def _read(site: Site, fail_at: Mapping[str, int]) -> list[Ended]:
    bodies = _bodies(Path(site.settings["BENCH_DONE"] + ".bodies"))
    sql = (
        "SELECT b.id::text, b.state, extract(epoch FROM b.decided)::float8, extract(epoch FROM b.ended)::float8"
        " FROM coordination_batch b"
    )
    found = []
    for batch, state, decided, ended in site.query("default", sql):
        failing = fail_at[batch]
        # A task that was run again, or after the decision, is none that decided.
        votes = [at for number, at in bodies[batch] if at <= decided and failing in (0, number)]
        found.append(Ended(state=state, fail_at=failing, last_vote=max(votes), decided=decided, ended=ended))
    return found


def _bodies(file: Path) -> dict[str, list[tuple[int, float]]]:
    """When each task's body was at its end, by batch: the tasks write it down."""
    bodies: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in file.read_text().splitlines():
        batch, number, at = line.split()
        bodies[batch].append((int(number), float(at)))
    return bodies


def _check(site: Site, ended: Sequence[Ended]) -> None:
    """Each ended as it must, and the rows of those that committed are there, and no others."""
    wrong = [batch for batch in ended if batch.state != ("ROLLED_BACK" if batch.fail_at else "COMMITTED")]
    if wrong or len(ended) != BATCHES:
        raise RuntimeError(f"{len(ended)} batches, {len(wrong)} of which did not end as they must: {wrong[:3]}")
    good = sum(not batch.fail_at for batch in ended)
    rows = Counter({name: site.value(f"demo_{name}", "SELECT count(*) FROM demo_entry") for name in DATABASES})
    if rows.total() != good * TASKS * 10:
        raise RuntimeError(f"{rows} rows are there, not {good * TASKS * 10}")
    if site.prepared():
        raise RuntimeError(f"{len(site.prepared())} transactions are still prepared")


def _report(
    ended: Sequence[Ended], *, launched: float, took: float, cpu: float, memory: float, begun: float
) -> None:
    failing = sum(bool(batch.fail_at) for batch in ended)
    print(f"\n{len(ended)} batches of {TASKS} tasks of 10 rows for {len(CUSTOMERS)} customers, {failing} failing")
    print(f"  launched in {launched:.1f} s; all ended, each as it must, {took:.1f} s after the first launch began")
    print(f"  {len(ended) / took:.1f} batches/s, {len(ended) * TASKS / took:.0f} tasks/s")
    verdict = "yes" if memory <= MOST_MEMORY else "NO"
    print(f"  the node's peak memory {memory:.0f} MB   at most {MOST_MEMORY}: {verdict}")
    print(f"  the node's processor time {cpu:.1f} s, {cpu / took:.0%} of one core")
    gaps: dict[str, list[float]] = {
        "last task's body over → decided": [b.decided - b.last_vote for b in ended],
        "  of batches that committed": [b.decided - b.last_vote for b in ended if not b.fail_at],
        "  of batches that rolled back": [b.decided - b.last_vote for b in ended if b.fail_at],
        "decided → ended": [b.ended - b.decided for b in ended],
        "first launch → ended": [b.ended - begun for b in ended],
    }
    for name, gap in gaps.items():
        print(f"  {name:34} longest {max(gap) * 1000:7.0f} ms, median {statistics.median(gap) * 1000:7.0f} ms")


def _peak_memory(process: Process) -> float:
    """Its resident memory at the most, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def _cpu_seconds(process: Process) -> float:
    fields: list[Any] = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
