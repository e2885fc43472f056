"""What a person should look at: the one place that says so, for the page, the commands, the admin and the alerts.

Mixed and not marked as put right; decided and not finished for ``COORDINATION_UNRESOLVED_SECONDS``; past its deadline
and not decided; without any worker for a minute; a node that went away without a word. All by the journal's clock.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from coordination import conf
from coordination.journal.numbers import in_words
from coordination.journal.queries import HEARD_SECONDS
from coordination.models import Batch, Node, OperatorRequest
from coordination.protocol.states import CONTRADICTED, BatchState, BranchState

LATE = timedelta(seconds=5)
"""How long past its deadline an undecided batch may be."""
STALLED = timedelta(seconds=60)
"""How long tasks may wait while none of their batch runs."""
SILENT_SHOWN = timedelta(hours=1)
"""How long a node that went silent is spoken of while others are there; with none, for as long as it is known."""
MOST = 200
"""Batches that are named; the oldest of each matter first."""
RANGES = 10
NAMED = 100
"""Tasks of one batch that are read for a page or an alert; how many more there are is in the batch's row."""


class Matter(StrEnum):
    """What can be the matter with a batch."""

    MIXED = "mixed"
    UNRESOLVED = "unresolved"
    OVERDUE = "overdue"
    STALLED = "stalled"


STATES: dict[Matter, list[BranchState]] = {
    Matter.MIXED: sorted(CONTRADICTED),
    Matter.UNRESOLVED: [BranchState.PREPARED],
    Matter.OVERDUE: [BranchState.PENDING, BranchState.RUNNING],
    Matter.STALLED: [BranchState.PENDING],
}
"""Tasks that matter."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A batch that needs attention, read with its customer; ``tasks`` are the first of those that matter."""

    batch: Batch
    matter: Matter
    since: datetime
    tasks: tuple[int, ...]
    words: str


def settled() -> Exists:
    """Whether a person has marked the batch as put right."""
    return Exists(OperatorRequest.objects.filter(batch=OuterRef("pk"), action=OperatorRequest.Action.SETTLE))


def what(matter: Matter) -> Q:
    """Batches with that matter."""
    if matter is Matter.MIXED:
        return Q(state=BatchState.MIXED) & ~Q(settled())
    if matter is Matter.UNRESOLVED:
        return Q(ended=None, decided__lt=Now() - timedelta(seconds=conf.unresolved_seconds()))
    if matter is Matter.OVERDUE:
        return Q(ended=None, decision=None, deadline__lt=Now() - LATE)
    nothing_runs = Q(counts__RUNNING__isnull=True) | Q(counts__RUNNING=0)
    waits = Q(ended=None, state=BatchState.ACTIVE, counts__PENDING__gt=0, dispatched__lt=Now() - STALLED)
    return waits & nothing_runs & Q(deadline__gte=Now() - LATE)


def needs_attention() -> Q:
    """Batches with any of them."""
    return what(Matter.MIXED) | what(Matter.UNRESOLVED) | what(Matter.OVERDUE) | what(Matter.STALLED)


def count(batches: QuerySet[Batch]) -> int:
    """How many of ``batches`` need attention: asked for every page, and each half has an index of its own."""
    still_open = what(Matter.UNRESOLVED) | what(Matter.OVERDUE) | what(Matter.STALLED)
    found = batches.order_by()
    return found.filter(what(Matter.MIXED)).count() + found.filter(ended=None).filter(still_open).count()


def troubles(batches: QuerySet[Batch], named: int | None = NAMED) -> list[Trouble]:
    """Those of ``batches`` that need attention: mixed ones first, the oldest of each matter first.

    At most ``named`` tasks of each are read, all for None: pages ask every second.
    """
    found: list[Trouble] = []
    since = {
        Matter.MIXED: "ended", Matter.UNRESOLVED: "decided", Matter.OVERDUE: "deadline", Matter.STALLED: "dispatched",
    }  # fmt: skip
    for matter in Matter:
        some = list(batches.filter(what(matter)).select_related("customer").order_by(since[matter], "id")[:MOST])
        tasks = _tasks([batch.pk for batch in some], STATES[matter], named)
        found += [_trouble(one, matter, getattr(one, since[matter]), tasks.get(one.pk, []), named) for one in some]
    return found


def _tasks(batches: list[UUID], states: list[BranchState], named: int | None) -> dict[UUID, list[tuple[int, str]]]:
    """The first tasks of each of ``batches`` in one of ``states``: number and database."""
    found: dict[UUID, list[tuple[int, str]]] = {}
    if batches:
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute(
                "SELECT b.id, t.number, t.database FROM unnest(%s::uuid[]) AS b(id) CROSS JOIN LATERAL ("
                " SELECT number, database FROM coordination_branch"
                " WHERE batch_id = b.id AND state = ANY(%s) ORDER BY number LIMIT %s) AS t ORDER BY b.id, t.number",
                [batches, [state.value for state in states], named],
            )
            for batch, number, database in cursor.fetchall():
                found.setdefault(batch, []).append((number, database))
    return found


def _trouble(batch: Batch, matter: Matter, since: datetime, found: list[tuple[int, str]], named: int | None) -> Trouble:
    tasks = tuple(number for number, _ in found)
    further = 0
    if named is not None and len(tasks) == named:
        further = max(sum(batch.counts.get(state.value, 0) for state in STATES[matter]) - named, 0)
    databases = sorted({database for _, database in found}) + (["…"] if further else [])
    words = _words(matter, tasks, further, databases, batch.customer.queue or "celery")
    return Trouble(batch=batch, matter=matter, since=since, tasks=tasks, words=words)


def _words(matter: Matter, tasks: tuple[int, ...], further: int, databases: list[str], queue: str) -> str:
    one = len(tasks) + further == 1
    which = f"{'Task' if one else 'Tasks'} {in_words(tasks, RANGES, further)}"
    on = f" (database{'s' if len(databases) > 1 else ''} {', '.join(databases)})" if databases else ""
    if not tasks and matter is Matter.MIXED:
        return "Not all of its tasks ended as decided."
    if matter is Matter.MIXED:
        return f"{which}{on} did not end as decided, or nobody can tell how."
    if matter is Matter.UNRESOLVED:
        if not tasks:
            return "Decided, and its end is not stored yet."
        return f"Decided, but {which.lower()}{on} {'is' if one else 'are'} not finished yet."
    if matter is Matter.STALLED:
        return f"{which} {'waits' if one else 'wait'} and none runs: no worker takes from queue {queue}."
    return f"Past its deadline and not decided; {which.lower()} {'has' if one else 'have'} not voted."


def silent_nodes() -> list[Node]:
    """Nodes that went away without a word, the latest first."""
    nodes = Node.objects.using(DEFAULT_DB_ALIAS).annotate(now=Now()).order_by("-heartbeat")[:MOST]
    quiet = [(node.now - node.heartbeat, node) for node in nodes]
    some_are_heard_of = any(length < timedelta(seconds=HEARD_SECONDS) for length, _ in quiet)
    longest = SILENT_SHOWN if some_are_heard_of else timedelta.max
    return [node for length, node in quiet if timedelta(seconds=HEARD_SECONDS) <= length < longest]
