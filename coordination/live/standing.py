"""What else a screen says of a batch as a whole: its phase and since when, what is left behind, what to do now.

Like the sentence in :mod:`.why`, all of it comes from one read of the journal, and nothing here does I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from coordination.live.why import Facts, clock
from coordination.protocol.states import BATCH_ENDED, CONTRADICTED, BatchState, BranchState

NO_NODE = "No manager is heard of: see that one runs (manage.py runmanager)."

NAMED = 10
"""Tasks that a sentence names by their numbers."""

PHASES = ("prepare", "decide", "finish", "done")
"""The steps of every batch, in their order."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """When a batch came to where it is; None for what has not happened."""

    created: datetime
    dispatched: datetime | None = None
    deadline: datetime | None = None
    decided: datetime | None = None
    ended: datetime | None = None


def phase(facts: Facts) -> str:
    """Which of ``PHASES`` the batch is in."""
    if facts.state in BATCH_ENDED:
        return "done"
    if facts.state in (BatchState.COMMITTING, BatchState.ROLLING_BACK):
        return "finish"
    return "decide" if facts.tasks and facts.count(BranchState.PREPARED) >= facts.tasks else "prepare"


def since(state: BatchState, times: Times) -> datetime:
    """When the batch entered the state it is in."""
    if state in BATCH_ENDED:
        return times.ended or times.decided or times.created
    if state in (BatchState.COMMITTING, BatchState.ROLLING_BACK):
        return times.decided or times.created
    return times.dispatched or times.created if state is BatchState.ACTIVE else times.created


def left_behind(facts: Facts, unfinished: Sequence[tuple[str, int]], wrong: Sequence[int] = ()) -> str:
    """What of the batch still lies in databases.

    ``unfinished`` counts prepared tasks by database, ``wrong`` has the first numbers of those that ended against the
    decision.
    """
    if facts.state is BatchState.PENDING:
        return "Nothing: no task has run."
    if facts.state is BatchState.ACTIVE:
        return "Nothing yet: what tasks have written can be seen by nobody before the decision."
    if facts.state not in BATCH_ENDED:
        parts = [f"{_tasks(count)} on database {name}" for name, count in unfinished]
        return f"Still to be finished: {', '.join(parts)}." if parts else "The end is being stored."
    count = facts.count(*CONTRADICTED)
    if not count:
        return "Nothing is left behind."
    names = ", ".join(map(str, wrong)) + (f" and {count - len(wrong):,} more" if len(wrong) < count else "")
    tasks, they = ("Task", "it") if count == 1 else ("Tasks", "they")
    return f"{tasks} {names} did not end as decided: look at what {they} wrote."


def to_do(facts: Facts, times: Times, heard_of_nodes: bool, *, slow: bool = False, settled: bool = False) -> str:
    """What the reader is to do now, in one sentence or two.

    ``slow``: its databases take longer to answer than they should. ``settled``: what it left is marked as put right.
    """
    if facts.state is BatchState.PENDING:
        return _to_do_while_waiting(facts, heard_of_nodes)
    if facts.state is BatchState.ACTIVE:
        return _to_do_while_active(facts, times, heard_of_nodes)
    if facts.state in (BatchState.COMMITTING, BatchState.ROLLING_BACK):
        if not heard_of_nodes:
            return f"{NO_NODE} Until then nobody carries the decision out."
        if slow:
            return (
                "See that these databases are up, and that a worker runs that has them; they are asked again by "
                "themselves. If one is gone for good, an approver can declare what became of its tasks."
            )
        return "Nothing: it is decided, and each database is asked again until it has answered."
    if facts.state is BatchState.COMMITTED:
        return "Nothing: all of it is in place."
    if facts.state is BatchState.MIXED and settled:
        return "Nothing: what it left behind is marked as put right."
    if facts.state is BatchState.MIXED:
        return "Look at each task marked ⚠ or ? and at its database, and put right by hand what differs. "\
            "Then an approver marks it as put right."
    if facts.count(BranchState.FAILED):
        return "Mend what the error says, then launch again. There is nothing to clean up first."
    return "Launch again when what stood in the way is gone. There is nothing to clean up first."


def _to_do_while_waiting(facts: Facts, heard_of_nodes: bool) -> str:
    if not heard_of_nodes:
        return f"{NO_NODE} Until then nobody runs it."
    return "Nothing: it starts by itself as soon as it can." if facts.waiting_for else "Nothing: it is about to start."


def _to_do_while_active(facts: Facts, times: Times, heard_of_nodes: bool) -> str:
    if not heard_of_nodes:
        return f"{NO_NODE} Until then nobody decides it."
    if facts.waiting_for:
        return "See to what it waits for: it goes on by itself when that is there."
    if not facts.count(BranchState.RUNNING) and facts.count(BranchState.PENDING):
        return f"If this lasts, see that a worker listens on queue {facts.queue or 'celery'}."
    by = f" It is decided by {clock(times.deadline)} at the latest." if times.deadline else ""
    return f"Nothing: it goes on by itself.{by}"


def _tasks(count: int) -> str:
    return f"{count:,} task" if count == 1 else f"{count:,} tasks"
