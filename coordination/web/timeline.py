"""How a batch went, for its page: how many tasks were in which state over time, and what their time went into.

The journal's database counts and measures; what comes back is small however many tasks there are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.postgres.fields import ArrayField
from django.db.models import (
    Aggregate,
    Case,
    Count,
    DateTimeField,
    DurationField,
    Expression,
    F,
    Func,
    IntegerField,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.utils import timezone

from coordination.models import Batch
from coordination.protocol.states import BRANCH_ENDED, LOOKS, BranchState, Look
from coordination.web.cards import FROM_LEFT

BINS = 60
"""Columns of the chart, all of the same length of time."""


@dataclass(frozen=True)
class Area:
    """The tasks in one state over time: a path in a picture BINS wide and as high as the batch has tasks."""

    state: BranchState
    look: Look
    path: str


@dataclass(frozen=True)
class Row:
    """How many tasks were in each of the timeline's states, so long after the dispatch."""

    after: timedelta
    counts: Sequence[int]


@dataclass(frozen=True)
class Stage:
    """What part of the tasks' time went into: how many are through, and how long half of them, 95 % and all took."""

    word: str
    about: str
    tasks: int
    half: timedelta | None
    most: timedelta | None
    longest: timedelta | None
    width: float
    """Of ``most``, in percent of the largest one."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """From the dispatch to the end, or to now. ``rows`` has only those bins in which something changed."""

    start: datetime
    end: datetime
    bins: int
    bin: timedelta
    areas: Sequence[Area]
    rows: Sequence[Row]
    decided_at: float | None
    """Where in the picture the decision is."""
    decided_after: timedelta | None
    stages: Sequence[Stage]


def timeline(batch: Batch) -> Timeline | None:
    """The batch's timeline; None while it has not been dispatched, or if it never was."""
    if batch.dispatched is None:
        return None
    start, end = batch.dispatched, batch.ended or timezone.now()
    step = max(end - start, timedelta(milliseconds=1)) / BINS
    bins = _bins(batch, start, step)
    seen = [state for state in FROM_LEFT if any(counts[state] for counts in bins)]
    return Timeline(
        start=start,
        end=end,
        bins=BINS,
        bin=step,
        areas=_areas(seen, bins, batch.tasks),
        rows=_rows(seen, bins, step),
        decided_at=round((batch.decided - start) / step, 2) if batch.decided else None,
        decided_after=batch.decided - start if batch.decided else None,
        stages=_stages(batch),
    )


# --- states over time -----------------------------------------------------------------------------------------------


def _bins(batch: Batch, start: datetime, step: timedelta) -> list[dict[BranchState, int]]:
    """How many tasks were in each state when each bin ended."""
    edges = Value([start + n * step for n in range(1, BINS)], output_field=ArrayField(DateTimeField()))

    def in_bin(moment: str) -> Func:
        return Func(F(moment), edges, function="width_bucket", output_field=IntegerField())

    tasks = batch.branches.order_by().annotate(
        into_running=in_bin("started"), into_prepared=in_bin("prepared"), into_end=in_bin("finished")
    )
    alike = tasks.values_list("state", "into_running", "into_prepared", "into_end").annotate(count=Count("*"))
    entered = [dict.fromkeys(BranchState, 0) for _ in range(BINS)]
    for state, started, prepared, finished, count in alike:
        was, ended = BranchState.PENDING, BranchState(state)
        entered[0][was] += count
        steps = [(started, BranchState.RUNNING), (prepared, BranchState.PREPARED)]
        for place, now in [*steps, (finished if ended in BRANCH_ENDED else None, ended)]:
            if place is not None:
                entered[place][was] -= count
                entered[place][now] += count
                was = now
    return list(_added_up(entered))


def _added_up(changes: Iterable[dict[BranchState, int]]) -> Iterable[dict[BranchState, int]]:
    counts = dict.fromkeys(BranchState, 0)
    for change in changes:
        counts = {state: count + change[state] for state, count in counts.items()}
        yield counts


def _areas(states: Sequence[BranchState], bins: Sequence[dict[BranchState, int]], tasks: int) -> list[Area]:
    """The states on top of each other, each with its lower edge on the upper one of the state before."""
    areas, lower = [], [tasks] * BINS
    for state in states:
        upper = [low - counts[state] for low, counts in zip(lower, bins, strict=True)]
        there = "".join(f"V{y}H{n}" for n, y in enumerate(upper, start=1))
        back = "".join(f"V{y}H{n}" for n, y in reversed([*enumerate(lower)]))
        areas.append(Area(state, LOOKS[state], f"M0 {upper[0]}{there}{back}Z"))
        lower = upper
    return areas


def _rows(states: Sequence[BranchState], bins: Sequence[dict[BranchState, int]], step: timedelta) -> list[Row]:
    rows: list[Row] = []
    for n, counts in enumerate(bins, start=1):
        row = Row(n * step, [counts[state] for state in states])
        if not rows or row.counts != rows[-1].counts:
            rows.append(row)
    return rows


# --- what their time went into --------------------------------------------------------------------------------------


class _Shares(Aggregate):
    """How long half of them, 95 % and all took at most; None if there are none."""

    function = "percentile_cont"
    template = "%(function)s(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = ArrayField(DurationField())


def _lengths(batch: Batch) -> dict[str, tuple[str, Expression]]:
    """What is measured of each task, by what it is called, with what that means."""
    dispatched, decided = (Value(at, output_field=DateTimeField()) for at in (batch.dispatched, batch.decided))
    failed = Case(When(state=BranchState.FAILED, then=F("finished")))
    resolved = Case(When(prepared__isnull=False, then=F("finished")))
    return {
        "Queued": ("from the dispatch until a worker began", F("started") - dispatched),
        "Working": ("until it was prepared, or had failed", Coalesce("prepared", failed) - F("started")),
        "Waiting for the decision": ("prepared, while others were not yet", decided - F("prepared")),
        "Resolving": ("from the decision until its database had carried it out", resolved - decided),
    }


def _stages(batch: Batch) -> list[Stage]:
    lengths = _lengths(batch)
    asked: dict[str, Aggregate] = {}
    for n, (_, length) in enumerate(lengths.values()):
        asked |= {f"count{n}": Count(length), f"shares{n}": _Shares(length)}
    found = batch.branches.order_by().aggregate(**asked)
    shares = [found[f"shares{n}"] or (None, None, None) for n in range(len(lengths))]
    largest = max((most for _, most, _ in shares if most), default=timedelta(0))
    return [
        Stage(word, about, found[f"count{n}"], half, most, longest, _percent(most, largest))
        for n, ((word, (about, _)), (half, most, longest)) in enumerate(zip(lengths.items(), shares, strict=True))
    ]


def _percent(length: timedelta | None, largest: timedelta) -> float:
    return round(100 * length / largest, 1) if length and largest and length > timedelta(0) else 0
