"""A batch's tasks for its page: the table, page by page, and all that is known of one task."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Case, F, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from coordination.models import Batch, Branch
from coordination.protocol.states import CONTRADICTED, LOOKS, BranchState
from coordination.redact import redacted, shown
from coordination.web.viewing import View, number_of
from coordination.web.words import WRONG

ROWS = 100
"""Tasks on one page of the table."""
MAX_ATTEMPTS = 50
"""Runs of one task that its page lists: the latest ones."""

_PLACE = Case(*(When(state=state, then=Value(n)) for n, state in enumerate(LOOKS)), output_field=IntegerField())


def listed(batch: Batch, view: View) -> Page[dict[str, Any]]:
    """The page of the table that ``view`` asks for: filtered, searched and sorted."""
    found: QuerySet[Branch] = batch.branches.all()
    if view.state is not None:
        found = found.filter(state=view.state)
    if view.search:
        found = found.filter(_matches(view.search))
    found = found.annotate(place=_PLACE, took=Coalesce("prepared", "finished") - F("started"))
    wanted = "place" if view.sort.endswith("state") else view.sort.removeprefix("-")
    by = F(wanted).desc(nulls_last=True) if view.sort.startswith("-") else F(wanted).asc(nulls_last=True)
    rows = found.order_by(by, "number").values(
        *("number", "name", "database", "state", "started", "prepared", "finished", "took", "how"),
        *("error__type", "error__message"),
    )
    page = Paginator(rows, ROWS).get_page(view.page)
    page.object_list = [_row(row) for row in page.object_list]
    return page


def _matches(search: str) -> Q:
    """Tasks that have ``search`` in what people call them, in their database's name or in what went wrong."""
    words = Q(name__icontains=search) | Q(database__icontains=search) | Q(how__icontains=search)
    words |= Q(error__type__icontains=search) | Q(error__message__icontains=search)
    number = number_of(search.removeprefix("#"))
    return words | Q(number=number) if number else words


def _row(row: dict[str, Any]) -> dict[str, Any]:
    state = BranchState(row["state"])
    running = state is BranchState.RUNNING and row["started"] is not None
    return {
        **row,
        "look": LOOKS[state],
        "since": row["started"] if running else None,
        "error": words_of({"type": row["error__type"], "message": row["error__message"]}, how_of(state, row["how"])),
    }


def how_of(state: BranchState, how: str) -> str:
    """How a task came to end against the decision; empty for any other."""
    return how if state in CONTRADICTED else ""


def words_of(error: dict[str, Any] | None, otherwise: str = "") -> str:
    """An error in one line: its type and what it said, without passwords of addresses."""
    parts = [part for part in ((error or {}).get("type"), (error or {}).get("message")) if part]
    return str(redacted(": ".join(parts) or otherwise))


# --- one task -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that happened to a task, and how long after the step before it."""

    what: str
    at: datetime
    after: timedelta | None


def detail(batch: Batch, number: int) -> dict[str, Any] | None:
    """All that the journal has of the task, for its page; None if there is no such task."""
    branch = batch.branches.filter(number=number).first()
    if branch is None:
        return None
    state, error = BranchState(branch.state), branch.error or {}
    return {
        "branch": branch,
        "look": LOOKS[state],
        "error": words_of(error, how_of(state, branch.how)),
        "traceback": str(redacted(error.get("traceback", ""))),
        "steps": _steps(batch, branch),
        "now": timezone.now(),
        "attempts": [
            {"attempt": attempt, "error": words_of(attempt.error)}
            for attempt in reversed(branch.attempts.order_by("-started", "-id")[:MAX_ATTEMPTS])
        ],
        "arguments": shown(branch.args),
        "evidence": list((redacted(branch.evidence) or {}).items()),
        "previous": _neighbour(batch, number, before=True),
        "next": _neighbour(batch, number, before=False),
    }


def _steps(batch: Batch, branch: Branch) -> list[Step]:
    """What happened, in the order of time."""
    ended = LOOKS[BranchState(branch.state)].word
    moments = [
        ("Batch dispatched", batch.dispatched),
        ("Started", branch.started),
        ("Prepared", branch.prepared),
        ("Batch decided", batch.decided if branch.gid else None),
        (ended, branch.finished),
    ]
    steps: list[Step] = []
    known = [(what, at) for what, at in moments if at is not None]
    for what, at in sorted(known, key=lambda moment: moment[1]):
        steps.append(Step(what=what, at=at, after=at - steps[-1].at if steps else None))
    return steps


def _neighbour(batch: Batch, number: int, *, before: bool) -> int | None:
    """The nearest task before or after that one which went wrong."""
    wrong = batch.branches.filter(state__in=WRONG).values_list("number", flat=True)
    if before:
        return wrong.filter(number__lt=number).order_by("-number").first()
    return wrong.filter(number__gt=number).order_by("number").first()
