"""The figures of a run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.chaos.faults import Struck
from tests.chaos.plan import SECONDS, Kind
from tests.chaos.stage import Stage
from tests.chaos.stream import Operation

SHARE = 0.8
"""Of the batches that nothing but a fault can keep from committing, so many have to commit."""


@dataclass(frozen=True)
class Ended:
    """When a batch was recorded and when it ended, in seconds since 1970."""

    created: float
    ended: float


def print_figures(stage: Stage, operations: Sequence[Operation], struck: Sequence[Struck]) -> float:
    """Print them; returns the share of good batches that committed (1 if there was none)."""
    results = Counter(op.result for op in operations)
    asked = sum(op.asked > 1 for op in operations)
    print(f"launches: {len(operations)}: {_counted(results)}; asked for again with the same key: {asked}")
    rows = stage.site.query("default", (
        "SELECT id, plan, state, reason, extract(epoch FROM created)::float, extract(epoch FROM ended)::float, epoch,"
        " extract(epoch FROM decided - dispatched)::float FROM coordination_batch"
    ))  # fmt: skip
    by_id = {row[0]: row for row in rows}
    for plan in ("load", "order"):
        print(f"batches of plan {plan}: {_counted(Counter(row[2] for row in rows if row[1] == plan))}")
    tasks, ran, attempts = stage.site.query("default", (
        "SELECT (SELECT count(*) FROM coordination_branch), count(DISTINCT branch_id), count(*)"
        " FROM coordination_attempt"
    ))[0]  # fmt: skip
    print(f"tasks: {tasks}, of which ran: {ran}, attempts: {attempts}")
    print(f"takeovers: {sum(max(row[6] - 1, 0) for row in rows)}")
    print(f"faults: {len(struck)}")
    kinds = Counter(each.fault.kind for each in struck)
    ended = [Ended(row[4], row[5]) for row in rows if row[5] is not None]
    for kind in (kind for kind in Kind if kind in SECONDS or kinds[kind]):
        print(f"  {kinds[kind]:3} {kind}{_recovery([s for s in struck if s.fault.kind is kind], ended)}")
    print(f"  {sum(stage.armed.values()):3} crash points ({_counted(stage.armed)})")
    print(f"recovery{_recovery(struck, ended)}")
    good = [by_id[op.id] for op in operations if op.batch.good and op.id in by_id]
    committed = sum(row[2] == "COMMITTED" for row in good)
    share = committed / len(good) if good else 1.0
    print(f"batches that nothing but a fault can fail: {len(good)}, committed: {committed} ({share:.0%})")
    for reason, n in Counter(_reason(row[3]) for row in good if row[2] == "ROLLED_BACK").most_common(8):
        print(f"  {n:3} rolled back: {reason}")
    waits = sorted(row[7] for row in good if row[7] is not None)
    if waits:
        print(f"from dispatch to decision: median {median(waits):.1f} s, worst {waits[-1]:.1f} s")
    return share


def _recovery(struck: Sequence[Struck], ended: Sequence[Ended]) -> str:
    """Seconds from a fault's mending until every batch that was open then had ended, whatever else struck meanwhile."""
    took = []
    for each in struck:
        then = [batch.ended for batch in ended if batch.created <= each.mended < batch.ended]
        if then:
            took.append(max(then) - each.mended)
    return f": median {median(took):.1f} s, worst {max(took):.1f} s" if took else ""


def _reason(text: str) -> str:
    """A rollback's reason without its numbers: the same ones are counted together."""
    return " ".join("…" if any(c.isdigit() for c in word) else word for word in text.split())[:160]


def _counted(counts: "Counter[Any] | dict[str, int]") -> str:
    return ", ".join(f"{n} {key}" for key, n in sorted(counts.items(), key=str)) or "none"
