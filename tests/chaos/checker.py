"""After the faults: wait, for a bounded time, until nothing is in doubt; then every database against the journal."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import psycopg

from tests.chaos.stage import TARGETS, Stage
from tests.chaos.stream import Operation

TIMES = {"COMMIT": 1, "ROLLBACK": 0}
"""How often the work of each task of a batch that was decided so must be there."""
OPEN = {"PENDING", "ACTIVE", "COMMITTING", "ROLLING_BACK"}
BROUGHT_BACK_SECONDS = 30.0
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LEFT = {
    "batches that have not ended": "SELECT id::text FROM coordination_batch WHERE ended IS NULL",
    "batches whose queue is not deleted": "SELECT id::text FROM coordination_batch WHERE NOT queue_deleted",
}


def settle(stage: Stage, seconds: float, killed: Sequence[float] = ()) -> tuple[float, list[str]]:
    """Wait until nothing is in doubt any more; the seconds that took, and after ``seconds`` what still is.

    ``killed``: when the broker was killed, in seconds since 1970.
    """
    began = time.monotonic()
    while True:
        try:
            left = in_doubt(stage, killed)
        except psycopg.Error as error:
            left = [f"a database that does not answer: {error}"]
        if not left or time.monotonic() - began > seconds:
            return time.monotonic() - began, left
        time.sleep(0.25)


def in_doubt(stage: Stage, killed: Sequence[float] = ()) -> list[str]:
    """What is prepared, open or left on the broker, in words."""
    found = [f"prepared in {database}: {gid}" for database, gid in stage.site.prepared()]
    for what, sql in LEFT.items():
        found += [f"{what}: {row[0]}" for row in stage.site.query("default", sql)]
    if not found:  # It takes a while to ask.
        names = [name for name in stage.rabbitmq.queues() if ".batch." in name]
        found = [f"a queue that is left: {name}" for name in names if not _brought_back(stage, name, killed)]
    return found


def _brought_back(stage: Stage, queue: str, killed: Sequence[float]) -> bool:
    """Whether the broker may have brought back a queue that it had deleted, as it does when it is killed within a few
    seconds: it has not written that down yet. The queue expires after a day."""
    sql = "SELECT extract(epoch FROM ended)::float FROM coordination_batch WHERE id = %s AND queue_deleted"
    ended = stage.site.value("default", sql, [queue.rpartition(".")[2]])
    return ended is not None and any(0 <= kill - ended <= BROUGHT_BACK_SECONDS for kill in killed)


def check(stage: Stage, operations: Sequence[Operation]) -> list[str]:
    """Every violation of what is promised, in words; with nothing in doubt any more."""
    batches = {str(row[0]): row[1:] for row in stage.site.query("default", (
        "SELECT b.id, b.state, b.decision, b.tasks, b.plan, b.reason, c.slug, b.key FROM coordination_batch b"
        " JOIN coordination_customer c ON c.id = b.customer_id"
    ))}  # fmt: skip
    return [
        *_accepted(batches, operations), *_ends(stage, batches), *_effects(stage, batches), *_order(stage, batches),
    ]  # fmt: skip


def _accepted(batches: dict[str, Any], operations: Sequence[Operation]) -> list[str]:
    """No accepted batch is missing, and none is there that nobody launched, or twice."""
    found = [
        f"batch {op.id} ({op.batch.key}) was accepted and is not in the journal"
        for op in operations
        if op.result == "ok" and str(op.id) not in batches
    ]
    launched = {(op.batch.customer, op.batch.key) for op in operations if op.result != "failed"}
    keys = Counter((row[5], row[6]) for row in batches.values())
    found += [f"batch {key} is there {n} times" for key, n in keys.items() if n > 1]
    return found + [f"batch {key} is in the journal, and nobody launched it" for key in keys if key not in launched]


def _ends(stage: Stage, batches: dict[str, Any]) -> list[str]:
    """Each has ended as it was decided, once, with all its tasks alike."""
    found = []
    for batch, (state, decision, *_) in batches.items():
        if state in OPEN:
            continue  # Said already: it has not ended in time.
        if {"COMMIT": "COMMITTED", "ROLLBACK": "ROLLED_BACK"}.get(decision) != state:
            found.append(f"batch {batch} ended {state}, and its decision is {decision}")
    committed: dict[str, set[str]] = defaultdict(set)
    for batch, state in stage.site.query("default", "SELECT DISTINCT batch_id::text, state FROM coordination_branch"):
        committed[batch].add(state)
    for batch, states in committed.items():
        if batches[batch][0] == "COMMITTED" and states != {"COMMITTED"}:
            found.append(f"batch {batch} is COMMITTED, its tasks are {', '.join(sorted(states))}")
        if batches[batch][0] == "ROLLED_BACK" and not states <= {"ROLLED_BACK", "FAILED", "NOT_RUN"}:
            found.append(f"batch {batch} is ROLLED_BACK, its tasks are {', '.join(sorted(states))}")
    decided = (
        "SELECT batch_id::text, count(*) FROM coordination_journalentry WHERE text LIKE 'Decided %'"
        " GROUP BY 1 HAVING count(*) <> 1"
    )
    return found + [f"batch {b} was decided {n} times, by its journal" for b, n in stage.site.query("default", decided)]


def _effects(stage: Stage, batches: dict[str, Any]) -> list[str]:
    """Every counter, and the number of ledger lines of every task, is 1 if the decision was COMMIT, else 0."""
    found = []
    counters: dict[str, dict[int, int]] = defaultdict(dict)
    lines: dict[str, Counter[int]] = defaultdict(Counter)
    for alias in TARGETS:
        for batch, task, n in stage.site.query(alias, "SELECT batch::text, task, n FROM chaos_counter"):
            counters[batch][task] = counters[batch].get(task, 0) + n
        for batch, task in stage.site.query(alias, "SELECT batch::text, task FROM chaos_ledger"):
            lines[batch][task] += 1
    for batch in (set(counters) | set(lines)) - set(batches):
        found.append(f"rows of batch {batch}, which the journal does not know")
    for batch, (state, decision, tasks, *_) in batches.items():
        if state in OPEN:
            continue
        wanted = TIMES.get(decision)
        for what, have in (("counters", counters[batch]), ("ledger lines", lines[batch])):
            wrong = {task: have.get(task, 0) for task in range(1, tasks + 1) if have.get(task, 0) != wanted}
            if wrong:
                few = ", ".join(f"task {task}: {n}" for task, n in sorted(wrong.items())[:8])
                found.append(f"batch {batch} is {state}, and {len(wrong)} of {tasks} {what} are not {wanted}: {few}")
    return found


def _order(stage: Stage, batches: dict[str, Any]) -> list[str]:
    """Batches that took a number of the shared counter followed each other alike in every database, without a gap."""
    orders = {}
    found = []
    for alias in TARGETS:
        rows = stage.site.query(alias, "SELECT batch::text, n FROM chaos_order ORDER BY n")
        orders[alias] = [batch for batch, _ in rows]
        shared = stage.site.query(alias, "SELECT n FROM chaos_shared")[0][0]
        if [n for _, n in rows] != list(range(1, shared + 1)):
            found.append(f"the shared counter of {alias} is {shared}, its numbers are {[n for _, n in rows]}")
    return found + in_another_order(orders)


def in_another_order(orders: Mapping[str, Sequence[str]]) -> list[str]:
    """What is wrong if the batches of each database are not the same ones in the same order; nothing if they are."""
    for place, several in enumerate(zip_longest(*orders.values()), start=1):
        if len(set(several)) > 1:
            return [f"batches of plan order did not follow each other alike, from place {place} on: {orders}"]
    return []


def batches_of(violations: Sequence[str]) -> list[str]:
    """The ids of the batches that they name, each once."""
    return list(dict.fromkeys(batch for violation in violations for batch in ID.findall(violation)))


def look_at(stage: Stage, batch: str) -> str:
    """What the journal says of a batch that something is wrong with."""
    parts = [f"What the journal says of batch {batch}:"]
    for title, sql in {
        "batch": "SELECT state, decision, reason, epoch, node, dispatched, decided, ended FROM coordination_batch"
                 " WHERE id = %s",
        "journal": "SELECT at::time(3), text FROM coordination_journalentry WHERE batch_id = %s ORDER BY id",
        "tasks": "SELECT number, alias, state, gid, process, how, error->>'message' FROM coordination_branch"
                 " WHERE batch_id = %s ORDER BY number LIMIT 60",
        "attempts": "SELECT b.number, a.token, a.process, a.vote, a.started::time(3), a.ended::time(3)"
                    " FROM coordination_attempt a JOIN coordination_branch b ON b.id = a.branch_id"
                    " WHERE b.batch_id = %s ORDER BY 1, 5 LIMIT 100",
    }.items():  # fmt: skip
        rows = stage.site.query("default", sql, [batch])
        parts.append(f"  {title}:\n" + "\n".join("    " + " | ".join(map(str, row)) for row in rows))
    return "\n".join(parts)
