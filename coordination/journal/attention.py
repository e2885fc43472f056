"""What a person should look at: the one place that says so, for the page, the commands, the admin and the alerts.

Mixed and not marked as put right; decided and not finished for ``COORDINATION_UNRESOLVED_SECONDS``; past its deadline
and not decided; a node that went away without a word. All by the journal's clock.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from coordination import conf
from coordination.journal.numbers import in_words
from coordination.journal.queries import HEARD_SECONDS
from coordination.models import Batch, Branch, Node, OperatorRequest
from coordination.protocol.states import CONTRADICTED, BatchState, BranchState

LATE = timedelta(seconds=5)
"""How long past its deadline an undecided batch may be."""
SILENT_SHOWN = timedelta(hours=1)
"""How long a node that went silent is spoken of while others are there; with none, for as long as it is known."""
MOST = 200
"""Batches that are named; the oldest of each matter first."""
RANGES = 10


class Matter(StrEnum):
    """What can be the matter with a batch."""

    MIXED = "mixed"
    UNRESOLVED = "unresolved"
    OVERDUE = "overdue"


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A batch that needs attention, read with its customer; ``tasks`` are the numbers of those that matter."""

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
    return Q(ended=None, decision=None, deadline__lt=Now() - LATE)


def needs_attention() -> Q:
    """Batches with any of them."""
    return what(Matter.MIXED) | what(Matter.UNRESOLVED) | what(Matter.OVERDUE)


def count(batches: QuerySet[Batch]) -> int:
    """How many of ``batches`` need attention."""
    return sum(batches.filter(what(matter)).order_by().count() for matter in Matter)


def troubles(batches: QuerySet[Batch]) -> list[Trouble]:
    """Those of ``batches`` that need attention: mixed ones first, the oldest of each matter first."""
    found: list[Trouble] = []
    since = {Matter.MIXED: "ended", Matter.UNRESOLVED: "decided", Matter.OVERDUE: "deadline"}
    for matter in Matter:
        some = batches.filter(what(matter)).select_related("customer").order_by(since[matter], "id")[:MOST]
        found += [_trouble(batch, matter, getattr(batch, since[matter])) for batch in some]
    return found


def _trouble(batch: Batch, matter: Matter, since: datetime) -> Trouble:
    states: dict[Matter, list[BranchState]] = {
        Matter.MIXED: sorted(CONTRADICTED),
        Matter.UNRESOLVED: [BranchState.PREPARED],
        Matter.OVERDUE: [BranchState.PENDING, BranchState.RUNNING],
    }
    rows = Branch.objects.using(DEFAULT_DB_ALIAS).filter(batch=batch.pk, state__in=states[matter])
    named = list(rows.order_by("number").values_list("number", "database"))
    tasks = tuple(number for number, _ in named)
    return Trouble(
        batch=batch, matter=matter, since=since, tasks=tasks,
        words=_words(matter, tasks, sorted({database for _, database in named})),
    )  # fmt: skip


def _words(matter: Matter, tasks: tuple[int, ...], databases: list[str]) -> str:
    which = f"{'Task' if len(tasks) == 1 else 'Tasks'} {in_words(tasks, RANGES)}"
    on = f" (database {', '.join(databases)})" if databases else ""
    if matter is Matter.MIXED:
        return f"{which}{on} did not end as decided, or nobody can tell how."
    if matter is Matter.UNRESOLVED:
        if not tasks:
            return "Decided, and its end is not stored yet."
        return f"Decided, but {which.lower()}{on} {'is' if len(tasks) == 1 else 'are'} not finished yet."
    return f"Past its deadline and not decided; {which.lower()} {'has' if len(tasks) == 1 else 'have'} not voted."


def silent_nodes() -> list[Node]:
    """Nodes that went away without a word, the latest first."""
    nodes: Any = Node.objects.using(DEFAULT_DB_ALIAS)
    silent = nodes.filter(heartbeat__lte=Now() - timedelta(seconds=HEARD_SECONDS)).order_by("-heartbeat")
    if nodes.filter(heartbeat__gt=Now() - timedelta(seconds=HEARD_SECONDS)).exists():
        silent = silent.filter(heartbeat__gt=Now() - SILENT_SHOWN)
    return list(silent[:MOST])
