"""What the pages of customers show of batches: how each open one stands, and how a customer's latest ones ended.

Read with a handful of queries however many customers there are, and free of the time of reading: what is equal when
read again has not changed. Elapsed times are ticked by the script.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from coordination import conf
from coordination.journal import queries
from coordination.journal.attention import LATE
from coordination.live.why import Facts, why
from coordination.models import Batch, Customer, OperatorRequest
from coordination.protocol.states import BATCH_ENDED, BRANCH_ENDED, CONTRADICTED, BatchState, BranchState
from coordination.redact import redacted
from coordination.web.words import BATCH_LOOKS, BatchLook

OUTCOMES = 20
"""Outcomes a sparkline shows."""
MOST_OPEN = 50
"""Open batches of a customer that a page lists."""

FROM_LEFT = (
    *(BranchState.COMMITTED, BranchState.ROLLED_BACK, BranchState.HEURISTIC_COMMIT, BranchState.HEURISTIC_ROLLBACK),
    *(BranchState.LOST, BranchState.FAILED, BranchState.PREPARED, BranchState.RUNNING, BranchState.NOT_RUN),
    BranchState.PENDING,
)
"""The states of tasks in the order in which they lie in a bar: what is done first."""


@dataclass(frozen=True)
class Segment:
    """A part of a bar that is 100 wide: the tasks in one state."""

    state: BranchState
    x: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """How one batch stands."""

    id: str
    name: str
    url: str
    plan: str
    state: BatchState
    look: BatchLook
    bar: tuple[Segment, ...]
    progress: str
    why: str
    launched: datetime
    deadline: datetime | None
    ended: datetime | None
    who: str

    @property
    def took(self) -> timedelta | None:
        """How long it took from its launch; None while it is open."""
        return self.ended - self.launched if self.ended else None


@dataclass(frozen=True)
class Alarm:
    """What somebody should look at: the batch by name and address (none: all of them), and what is the matter."""

    words: str
    name: str = ""
    url: str = ""


@dataclass(frozen=True)
class Spark:
    """One bar of a sparkline: what is committed rises, what is rolled back hangs, what is mixed does both."""

    x: int
    y: int
    height: int
    look: BatchLook
    name: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """A customer at a glance."""

    slug: str
    name: str
    url: str
    attention: tuple[Alarm, ...]
    current: Line | None
    more: int
    sparks: tuple[Spark, ...]
    outcomes: str
    last: BatchLook | None
    last_at: datetime | None

    @property
    def is_running(self) -> bool:
        """Whether one of its batches is open."""
        return self.current is not None and self.current.ended is None


def cards(customers: QuerySet[Customer]) -> list[Card]:
    """A card for each of ``customers``: first those that need attention, then those with an open batch."""
    found = list(customers)
    recent = _recent(found)
    settled = _settled(recent)
    running = open_batches([customer.pk for customer in found])
    idle = [recent[one.pk][0]["id"] for one in found if one.pk in recent and one.pk not in running]
    over = Batch.objects.select_related("customer", "created_by").filter(pk__in=idle)
    ended = {batch.customer_id: batch for batch in over}
    made = [_card(one, running.get(one.pk, []), ended.get(one.pk), recent.get(one.pk, []), settled) for one in found]
    return sorted(made, key=lambda card: (not card.attention, not card.is_running, card.name.lower()))


def open_batches(customers: Sequence[int]) -> dict[int, list[Batch]]:
    """The open batches of these customers, by customer, the latest first."""
    found: dict[int, list[Batch]] = {}
    batches = Batch.objects.filter(customer__in=customers, ended=None).select_related("customer", "created_by")
    for batch in batches.order_by("-created")[: MOST_OPEN * max(1, len(customers))]:
        found.setdefault(batch.customer_id, []).append(batch)
    return found


def attention(batches: Sequence[Batch]) -> tuple[Alarm, ...]:
    """What somebody should look at now of open batches, read with their customers."""
    now, found = timezone.now(), []
    slow = timedelta(seconds=conf.unresolved_seconds())
    for batch in batches:
        if batch.decided is not None and batch.decided < now - slow:
            found.append(Alarm("is decided, but not finished in every database yet.", str(batch), _url(batch)))
        elif batch.decided is None and batch.deadline is not None and batch.deadline < now - LATE:
            found.append(Alarm("is past its deadline and not decided.", str(batch), _url(batch)))
    return tuple(found)


def unmanaged() -> Alarm | None:
    """Said when there are open batches and no node has been heard of that could manage them."""
    if queries.nodes_heard_of():
        return None
    seconds = queries.HEARD_SECONDS
    return Alarm(f"No manager has been heard of for {seconds} s, so nothing goes on. Start one: manage.py runmanager")


def line(batch: Batch) -> Line:
    """How ``batch``, read with its customer and account, stands."""
    state = BatchState(batch.state)
    counts = {BranchState(name): count for name, count in batch.counts.items() if count}
    facts = Facts(
        state=state,
        tasks=batch.tasks,
        counts=counts,
        reason=str(redacted(batch.reason)),
        waiting_for=batch.waiting_for,
        queue=batch.customer.queue,
    )
    return Line(
        id=str(batch.pk),
        name=str(batch),
        url=_url(batch),
        plan=batch.plan,
        state=state,
        look=BATCH_LOOKS[state],
        bar=bar(counts or {BranchState.PENDING: batch.tasks}),
        progress=progress(state, batch.tasks, counts),
        why=why(facts),
        launched=batch.created,
        deadline=batch.deadline if batch.decided is None else None,
        ended=batch.ended,
        who=batch.created_by.get_username() if batch.created_by else "",
    )


def bar(counts: Mapping[BranchState, int]) -> tuple[Segment, ...]:
    """``counts`` as parts of a bar 100 wide, what is done on the left; each part can be seen, however small."""
    total = sum(counts.values())
    segments, x = [], 0.0
    widths = {state: max(1.0, 100 * counts[state] / total) for state in FROM_LEFT if counts.get(state)}
    scale = 100 / sum(widths.values()) if widths else 1
    for state, width in widths.items():
        segments.append(Segment(state, round(x, 2), round(width * scale, 2)))
        x += width * scale
    return tuple(segments)


def progress(state: BatchState, tasks: int, counts: Mapping[BranchState, int]) -> str:
    """How far a batch is, in words."""
    words = f"{tasks:,} task" if tasks == 1 else f"{tasks:,} tasks"
    done = sum(count for one, count in counts.items() if one in BRANCH_ENDED)
    return {
        BatchState.PENDING: f"{words}, not started yet",
        BatchState.ACTIVE: f"{counts.get(BranchState.PREPARED, 0):,} of {words} ready",
        BatchState.COMMITTING: f"{done:,} of {words} committed",
        BatchState.ROLLING_BACK: f"{done:,} of {words} undone",
        BatchState.COMMITTED: f"{words}, all applied",
        BatchState.ROLLED_BACK: f"{words}, none applied",
        BatchState.MIXED: f"{sum(counts.get(one, 0) for one in CONTRADICTED):,} of {words} not as decided",
    }[state]


def _recent(customers: Sequence[Customer]) -> dict[int, list[dict[str, Any]]]:
    """The latest ended batches of each customer, the latest first.

    One statement, but each customer by its own name in it: so the database knows whose batches are many and whose few,
    and does not look for the latest of a small customer among all of a large one's.
    """
    fields = ("customer_id", "id", "state", "label", "plan", "created", "ended")
    ended = Batch.objects.filter(ended__isnull=False).order_by("-created").values(*fields)
    parts = [ended.filter(customer=customer.pk)[:OUTCOMES] for customer in customers]
    found: dict[int, list[dict[str, Any]]] = {}
    for row in parts[0].union(*parts[1:], all=True) if len(parts) > 1 else chain(*parts):
        found.setdefault(row["customer_id"], []).append(row)
    for rows in found.values():
        rows.sort(key=lambda row: row["created"], reverse=True)
    return found


def _settled(recent: Mapping[int, list[dict[str, Any]]]) -> set[Any]:
    """Primary keys of the mixed ones among ``recent`` that somebody has put right."""
    mixed = [one["id"] for rows in recent.values() for one in rows if _is_mixed(one)]
    if not mixed:
        return set()
    right = OperatorRequest.objects.filter(batch__in=mixed, action=OperatorRequest.Action.SETTLE)
    return set(right.values_list("batch", flat=True))


def _card(
    customer: Customer, running: list[Batch], ended: Batch | None, recent: list[dict[str, Any]], settled: set[Any]
) -> Card:
    current = running[0] if running else ended
    return Card(
        slug=customer.slug,
        name=customer.name,
        url=reverse("coordination:customer", kwargs={"slug": customer.slug}),
        attention=(
            *(_mixed(customer.slug, one) for one in recent if _is_mixed(one) and one["id"] not in settled),
            *attention(running),
        ),
        current=line(current) if current else None,
        more=max(0, len(running) - 1),
        sparks=tuple(_spark(n, one) for n, one in enumerate(reversed(recent))),
        outcomes=_outcomes([one["state"] for one in recent]),
        last=BATCH_LOOKS[BatchState(recent[0]["state"])] if recent else None,
        last_at=recent[0]["ended"] if recent else None,
    )


def _spark(place: int, one: Mapping[str, Any]) -> Spark:
    state = BatchState(one["state"])
    y, height = {BatchState.COMMITTED: (0, 11), BatchState.ROLLED_BACK: (13, 11)}.get(state, (0, 24))
    look = BATCH_LOOKS[state]
    return Spark(x=place * 8, y=y, height=height, look=look, name=f"{_name(one)}: {look.word.lower()}")


def _outcomes(states: Sequence[str]) -> str:
    """``states`` counted, in words."""
    if not states:
        return ""
    ends = sorted(BATCH_ENDED, key=list(BatchState).index)
    counted = [(states.count(state), BATCH_LOOKS[state].word.lower()) for state in ends]
    said = ", ".join(f"{count} {word}" for count, word in counted if count)
    return f"Last {len(states)} outcomes: {said}" if len(states) > 1 else f"Last outcome: {said.removeprefix('1 ')}"


def _mixed(slug: str, one: Mapping[str, Any]) -> Alarm:
    url = reverse("coordination:batch", kwargs={"slug": slug, "batch": one["id"]})
    return Alarm("ended mixed: not all of its tasks ended as decided.", _name(one), url)


def _url(batch: Batch) -> str:
    return reverse("coordination:batch", kwargs={"slug": batch.customer.slug, "batch": batch.pk})


def _is_mixed(one: Mapping[str, Any]) -> bool:
    return one["state"] == BatchState.MIXED


def _name(one: Mapping[str, Any]) -> str:
    return one["label"] or f"{one['plan']} {str(one['id'])[:8]}"
