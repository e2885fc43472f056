"""Reading the journal: how a batch stands, its summary as JSON, waiting for its end."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.models.functions import Now
from django.urls import NoReverseMatch, reverse

from coordination import conf
from coordination.errors import JournalUnreachable, UnknownBatch
from coordination.models import Batch, Branch, Node
from coordination.protocol.states import BATCH_ENDED, CONTRADICTED, BatchState, BranchState, Decision, Guarantee
from coordination.redact import redacted

MAX_ERRORS = 100
"""Errors named in a summary: the first ones by task number."""
HEARD_SECONDS = 10
"""A node whose heartbeat is older counts as not heard of."""
UNREACHABLE_SECONDS = 30.0
"""How long a wait outlasts a journal that does not answer: a restart or a failover."""


@dataclass(frozen=True, kw_only=True)
class BatchStatus:
    """How a batch stands, as one read of the journal has it."""

    id: uuid.UUID
    customer: str
    plan: str
    label: str
    tasks: int
    state: BatchState
    decision: Decision | None
    reason: str
    waiting_for: str
    counts: dict[BranchState, int]
    guarantee: Guarantee
    created: datetime
    decided: datetime | None
    ended: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether it has its outcome: COMMITTED, ROLLED_BACK or MIXED."""
        return self.state in BATCH_ENDED

    @property
    def committed(self) -> bool:
        """Whether all of it was committed."""
        return self.state is BatchState.COMMITTED


def find(batch: uuid.UUID | str, *, user: object = None) -> Batch:
    """The batch of that id, among those ``user`` may see; without a user (a command) among all.

    Raises UnknownBatch, alike for what does not exist and for what is not to be seen.
    """
    try:
        key = batch if isinstance(batch, uuid.UUID) else uuid.UUID(batch)
    except ValueError:
        raise UnknownBatch(id=repr(batch)) from None
    batches = Batch.objects.using(DEFAULT_DB_ALIAS).select_related("customer")
    found = (batches.for_user(user) if user is not None else batches).filter(pk=key).first()
    if found is None:
        raise UnknownBatch(id=str(key))
    return found


def status(batch: uuid.UUID | str) -> BatchStatus:
    """How ``batch`` stands now. Raises UnknownBatch."""
    return status_of(find(batch))


def status_of(batch: Batch) -> BatchStatus:
    """``batch`` as it was read; its words, which end in logs, without passwords."""
    return BatchStatus(
        id=batch.pk,
        customer=batch.customer.slug,
        plan=batch.plan,
        label=batch.label,
        tasks=batch.tasks,
        state=BatchState(batch.state),
        decision=Decision(batch.decision) if batch.decision else None,
        reason=redacted(batch.reason),
        waiting_for=redacted(batch.waiting_for),
        counts={BranchState(name): count for name, count in batch.counts.items()},
        guarantee=Guarantee(batch.guarantee),
        created=batch.created,
        decided=batch.decided,
        ended=batch.ended,
    )


def summary(status: BatchStatus) -> dict[str, Any]:
    """``status`` as the JSON object that commands print; its shape only ever grows."""
    return {**outline(status), "errors": errors(status.id)}


def outline(status: BatchStatus) -> dict[str, Any]:
    """:func:`summary` as lists have it: without its errors."""
    return {
        "id": str(status.id),
        "url": url(status),
        "customer": status.customer,
        "plan": status.plan,
        "state": status.state.value,
        "decision": status.decision.value if status.decision else None,
        "reason": status.reason,
        "counts": {state.value: status.counts[state] for state in BranchState if status.counts.get(state)},
        "guarantee": status.guarantee.value,
        "created_at": _iso(status.created),
        "decided_at": _iso(status.decided),
        "finished_at": _iso(status.ended),
    }


def errors(batch: uuid.UUID) -> list[dict[str, Any]]:
    """Tasks that failed, or ended against the decision, with what they said: at most MAX_ERRORS."""
    wrong = [BranchState.FAILED, *CONTRADICTED]
    rows = Branch.objects.using(DEFAULT_DB_ALIAS).filter(batch=batch, state__in=wrong).order_by("number")
    return [
        {
            "task": branch.number,
            "name": branch.name,
            "database": branch.database,
            "state": branch.state,
            "type": (branch.error or {}).get("type", ""),
            "message": redacted((branch.error or {}).get("message", "") or branch.how),
        }
        for branch in rows[:MAX_ERRORS]
    ]


def url(status: BatchStatus) -> str | None:
    """The address of the batch's page, None where the pages are not installed."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return None
    try:
        path = reverse("coordination:batch", kwargs={"slug": status.customer, "batch": status.id})
    except NoReverseMatch:
        return None
    return f"{conf.public_url()}{path}"


def nodes_heard_of() -> bool:
    """Whether any node was heard of lately, by the database's clock."""
    since = Now() - timedelta(seconds=HEARD_SECONDS)
    return Node.objects.using(DEFAULT_DB_ALIAS).filter(heartbeat__gt=since).exists()


# --- waiting ----------------------------------------------------------------------------------------------------


class _Pace:
    """When to look again, and when to give up on a journal that does not answer.

    The pause grows with the time waited, so an end is seen at most 5 % late: 20 ms at first, half a second at last.
    """

    def __init__(self, timeout: float | None) -> None:
        self._started = self._answered = time.monotonic()
        self._until = None if timeout is None else self._started + timeout

    def answered(self) -> None:
        self._answered = time.monotonic()

    def failed(self, error: Exception) -> None:
        connections[DEFAULT_DB_ALIAS].close()
        if time.monotonic() - self._answered > UNREACHABLE_SECONDS:
            raise JournalUnreachable(problem=" ".join(str(error).split())) from error

    def pause(self) -> float | None:
        """Seconds until the next look, None if the time is up."""
        now = time.monotonic()
        pause = min(max((now - self._started) / 20, 0.02), 0.5)
        if self._until is None:
            return pause
        return min(pause, self._until - now) if now < self._until else None


def _look(batch: uuid.UUID, pace: _Pace) -> BatchStatus | None:
    try:
        found = status(batch)
    except (OperationalError, InterfaceError) as error:
        pace.failed(error)
        return None
    pace.answered()
    return found


def watch(batch: uuid.UUID, timeout: float | None = None) -> Iterator[BatchStatus]:
    """How ``batch`` stands, look by look, until it has ended or ``timeout`` seconds have passed.

    Raises UnknownBatch, and JournalUnreachable when the journal has not answered for UNREACHABLE_SECONDS.
    """
    pace = _Pace(timeout)
    while True:
        found = _look(batch, pace)
        if found is not None:
            yield found
        pause = pace.pause()
        if pause is None or (found is not None and found.has_ended):
            return
        time.sleep(pause)


async def awatch(batch: uuid.UUID, timeout: float | None = None) -> AsyncIterator[BatchStatus]:
    """:func:`watch` for asyncio."""
    pace = _Pace(timeout)
    while True:
        found = await sync_to_async(_look)(batch, pace)
        if found is not None:
            yield found
        pause = pace.pause()
        if pause is None or (found is not None and found.has_ended):
            return
        await asyncio.sleep(pause)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
