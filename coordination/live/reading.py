"""Reading the journal for screens: one query a look, in a few threads of our own.

Django's async ORM and ``database_sync_to_async`` run one query at a time for the whole process, so one slow page would
hold up every live view.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.postgres.aggregates import StringAgg
from django.contrib.postgres.expressions import ArraySubquery
from django.db import InterfaceError, OperationalError, connections
from django.db.models import Case, CharField, Count, Exists, F, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Cast, Concat, JSONObject, Now
from django.utils import timezone

from coordination import conf
from coordination.journal.queries import HEARD_SECONDS
from coordination.live import standing
from coordination.live.frames import NOTHING, Head, Update, counts_by_letter
from coordination.live.why import Facts, clock, why
from coordination.models import Batch, Branch, Node, OperatorRequest
from coordination.protocol.messages import cut
from coordination.protocol.states import BATCH_ENDED, CONTRADICTED, LETTERS, BatchState, BranchState, Decision
from coordination.redact import redacted

T = TypeVar("T")

_LETTER = Case(*(When(state=state, then=Value(letter)) for state, letter in LETTERS.items()), output_field=CharField())

MAX_ASKED = 200
"""Characters of somebody's reason that each frame carries."""
_DECIDED = (BatchState.COMMITTING, BatchState.ROLLING_BACK)


def read(batch: UUID, since: int) -> Update | None:
    """The batch and its tasks changed after ``since`` (all, for ``NOTHING``), or None if there is no such batch.

    One statement, so one moment: a ``seq`` never comes without the tasks that carry it. If the journal is older than
    ``since`` (it was restored from a backup) the update is of the whole batch, since ``NOTHING``.
    """
    row = _look(batch, since).first()
    if row is None:
        return None
    if row["seq"] < since:
        return read(batch, NOTHING)
    return Update(since=since, seq=row["seq"], tasks=row["tasks"], head=_head(row), changed=_pairs(row["changed"]))


def _look(batch: UUID, since: int) -> QuerySet[Batch, dict[str, Any]]:
    branches = Branch.objects.filter(batch=OuterRef("pk")).order_by()
    changed = (
        branches.filter(seq__gt=since)
        .values("batch")
        .annotate(text=StringAgg(Concat(Cast("number", CharField()), _LETTER), ","))
        .values("text")
    )
    oldest = (
        branches.filter(state=BranchState.RUNNING, started__isnull=False)
        .order_by("started")
        .values(what=JSONObject(number="number", started="started"))[:1]
    )
    unfinished = (
        branches.filter(state=BranchState.PREPARED)
        .values("database")
        .annotate(count=Count("pk"))
        .order_by("database")
        .values(what=JSONObject(name="database", count="count"))
    )
    wrong = branches.filter(state__in=CONTRADICTED).order_by("number").values("number")[: standing.NAMED]
    heard = Node.objects.filter(heartbeat__gt=Now() - timedelta(seconds=HEARD_SECONDS)).order_by()
    asked = (
        OperatorRequest.objects.filter(batch=OuterRef("pk"), handled=None)
        .order_by("-id")
        .values(what=JSONObject(action="action", by="by", asked="asked", why="why"))[:1]
    )
    return (
        Batch.objects.filter(pk=batch)
        .order_by()
        .annotate(
            # The tasks are looked at only when there is something to find.
            changed=Case(When(seq__gt=since, then=Subquery(changed)), default=Value(""), output_field=CharField()),
            oldest=Case(When(state=BatchState.ACTIVE, then=Subquery(oldest)), default=None),
            unfinished=Case(When(state__in=_DECIDED, then=ArraySubquery(unfinished)), default=None),
            wrong=Case(When(state=BatchState.MIXED, then=ArraySubquery(wrong)), default=None),
            asked=Subquery(asked),
            heard=Exists(heard),
            settled=Exists(
                OperatorRequest.objects.filter(batch=OuterRef("pk"), action=OperatorRequest.Action.SETTLE)
            ),
            queue=F("customer__queue"),
        )
        .values(
            *("seq", "tasks", "state", "decision", "reason", "waiting_for", "counts"),
            *("created", "dispatched", "deadline", "decided", "ended"),
            *("changed", "oldest", "unfinished", "wrong", "asked", "heard", "settled", "queue"),
        )
    )


def _head(row: dict[str, Any]) -> Head:
    facts, times = _facts(row), _times(row)
    state, decision = facts.state, Decision(row["decision"]) if row["decision"] else None
    unfinished = [(entry["name"], entry["count"]) for entry in row["unfinished"] or ()]
    undecided = decision is None and state not in BATCH_ENDED
    return Head(
        state=state.value,
        decision=decision.value if decision else None,
        counts=counts_by_letter(row["counts"], row["tasks"]),
        why=why(facts),
        asked=_asked(row["asked"]),
        ended=state in BATCH_ENDED,
        phase=standing.phase(facts),
        since=_iso(standing.since(state, times)),
        deadline=_iso(times.deadline) if times.deadline and undecided else "",
        left=standing.left_behind(facts, unfinished, row["wrong"] or ()),
        todo=standing.to_do(facts, times, row["heard"], slow=_is_slow(times), settled=row["settled"]),
    )


def _is_slow(times: standing.Times) -> bool:
    if times.decided is None or times.ended is not None:
        return False
    return timezone.now() - times.decided > timedelta(seconds=conf.unresolved_seconds())


def _facts(row: dict[str, Any]) -> Facts:
    oldest = row["oldest"] and (row["oldest"]["number"], datetime.fromisoformat(row["oldest"]["started"]))
    return Facts(
        state=BatchState(row["state"]),
        tasks=row["tasks"],
        counts={BranchState(name): count for name, count in row["counts"].items()},
        reason=str(redacted(row["reason"])),
        waiting_for=row["waiting_for"],
        queue=row["queue"],
        oldest=oldest,
    )


def _times(row: dict[str, Any]) -> standing.Times:
    return standing.Times(
        created=row["created"],
        dispatched=row["dispatched"],
        deadline=row["deadline"],
        decided=row["decided"],
        ended=row["ended"],
    )


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _asked(request: dict[str, Any] | None) -> str:
    if not request:
        return ""
    action = OperatorRequest.Action(request["action"]).label
    why = cut(f": {request['why']}", MAX_ASKED) if request["why"] else ""
    return f"{action} asked by {request['by']} at {clock(datetime.fromisoformat(request['asked']))}{why}."


def _pairs(text: str | None) -> list[tuple[int, str]]:
    return [(int(part[:-1]), part[-1]) for part in text.split(",")] if text else []


class Readers:
    """A few threads that run reading functions, each with its own database connection.

    A connection is kept while there is work and closed after ``idle`` seconds without: reconnecting costs more than
    most reads, and nobody should find connections of a page that was closed. A read that finds its connection dead is
    run once more on a new one.
    """

    def __init__(self, threads: int = 4, idle: float = 5.0) -> None:
        self._threads = threads
        self._idle = idle
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.AbstractEventLoop, asyncio.Future[Any]]]
        self._jobs = queue.SimpleQueue()
        self._start = threading.Lock()
        self._started = False

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in one of the threads and return what it returns, or raise what it raises."""
        self._ensure_started()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put((work, loop, done))
        return await done

    def _ensure_started(self) -> None:
        with self._start:
            if self._started:
                return
            self._started = True
            for number in range(self._threads):
                threading.Thread(target=self._serve, name=f"live-reader-{number}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                work, loop, done = self._jobs.get(timeout=self._idle)
            except queue.Empty:
                connections.close_all()
                work, loop, done = self._jobs.get()
            if done.cancelled():
                continue
            try:
                result, error = _with_a_living_connection(work), None
            except BaseException as raised:
                result, error = None, raised
            with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
                loop.call_soon_threadsafe(_settle, done, result, error)


def _with_a_living_connection(work: Callable[[], T]) -> T:
    try:
        return work()
    except (OperationalError, InterfaceError):
        connections.close_all()
        return work()


def _settle(done: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
