"""Admission: a batch is dispatched when its branches fit into the prepared slots its servers have left.

A branch keeps one slot of ``max_prepared_transactions`` from its vote to the decision. Open batches reserve theirs
when they are admitted, under one advisory lock in the journal's database, so that two nodes never promise a slot
twice. Strangers' prepared transactions are counted off.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from coordination.journal.claims import Claim
from coordination.protocol.states import BatchState

from .capacity import Answer, Server, server_of

_LOCK = 0x636F6F72  # "coor"


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """The slots are reserved and the deadline runs: seconds from now, and seconds since 1970."""

    deadline_in: float
    deadline: float


@dataclass(frozen=True, kw_only=True)
class Waits:
    """Not yet: for what, in words."""

    words: str


@dataclass(frozen=True, kw_only=True)
class Never:
    """It can never run here; the reason names number and setting."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Applicant:
    """A batch that wants to be dispatched: ``needs`` are its branches by alias, ``order`` its place in the queue."""

    claim: Claim
    needs: Mapping[str, int]
    order: float


Verdict = Admitted | Waits | Never


def admit(applicants: Sequence[Applicant], capacities: Mapping[Server, Answer]) -> dict[UUID, Verdict]:
    """Verdicts on these batches, first come first; none on one that is not ours any more or not pending.

    ``capacities`` has every server they need, asked just before: not under the lock, which all nodes wait for.

    One that does not fit does not stop a smaller one behind it: it is tried again each time slots come free, and
    refused when its ``start_by`` passes.
    """
    verdicts: dict[UUID, Verdict] = {}
    with transaction.atomic(using=DEFAULT_DB_ALIAS), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        pending = _pending(cursor, applicants)
        admitted = _open(cursor)
        running = Counter(admitted.values())
        slots = _Slots(capacities, _reserved(cursor, admitted))
        for applicant in sorted(applicants, key=lambda a: a.order):
            batch = applicant.claim.batch
            if batch not in pending:
                continue
            customer, slug, limit = pending[batch]
            if limit and running[customer] >= limit:
                words = f"one of the {limit} batches {slug} may run at once ({running[customer]} are running)"
                verdicts[batch] = Waits(words=words)
                continue
            verdict = slots.refusal(applicant.needs) or _reserve(cursor, applicant.claim)
            if isinstance(verdict, Admitted):
                running[customer] += 1
                slots.take(applicant.needs)
            verdicts[batch] = verdict
    return verdicts


def _pending(cursor: Any, applicants: Sequence[Applicant]) -> dict[UUID, tuple[int, str, int]]:
    """Customer, its slug and its limit of those that may be admitted."""
    claims = [a.claim for a in applicants]
    cursor.execute(
        "SELECT b.id, b.customer_id, c.slug, c.max_running_batches FROM coordination_batch b"
        " JOIN coordination_customer c ON c.id = b.customer_id"
        " JOIN unnest(%s::uuid[], %s::bigint[]) AS v(id, epoch) ON v.id = b.id AND v.epoch = b.epoch"
        " WHERE b.state = %s AND b.dispatched IS NULL",
        [[c.batch for c in claims], [c.epoch for c in claims], BatchState.PENDING.value],
    )
    return {row[0]: (row[1], row[2], row[3]) for row in cursor.fetchall()}


def _open(cursor: Any) -> dict[UUID, int]:
    """Admitted batches that have not ended, and the customer of each."""
    cursor.execute(
        "SELECT id, customer_id FROM coordination_batch WHERE dispatched IS NOT NULL AND ended IS NULL"
    )
    return dict(cursor.fetchall())


def _reserved(cursor: Any, batches: Collection[UUID]) -> dict[str, int]:
    """Slots these open batches were promised, by alias.

    Counted batch by batch: joined, the planner reads every batch there ever was, at each look and under the lock.
    """
    cursor.execute(
        "SELECT r.alias, sum(r.slots)::int FROM unnest(%s::uuid[]) AS b(id), LATERAL (SELECT alias, count(*) AS slots"
        " FROM coordination_branch WHERE batch_id = b.id AND finished IS NULL GROUP BY alias) AS r GROUP BY r.alias",
        [list(batches)],
    )
    return dict(cursor.fetchall())


def _reserve(cursor: Any, claim: Claim) -> Admitted:
    cursor.execute(
        "UPDATE coordination_batch SET dispatched = clock_timestamp(),"
        " deadline = clock_timestamp() + make_interval(secs => deadline_seconds)"
        " WHERE id = %s RETURNING deadline_seconds::float8, extract(epoch FROM deadline)::float8",
        [claim.batch],
    )
    deadline_in, deadline = cursor.fetchone()
    return Admitted(deadline_in=deadline_in, deadline=deadline)


class _Slots:
    """Prepared slots of the servers, for the length of one look."""

    def __init__(self, capacities: Mapping[Server, Answer], reserved: Mapping[str, int]) -> None:
        self._capacities = capacities
        self._taken: Counter[Server] = Counter()
        self.take(reserved)

    def take(self, needs: Mapping[str, int]) -> None:
        for alias, count in needs.items():
            self._taken[server_of(alias)] += count

    def refusal(self, needs: Mapping[str, int]) -> Waits | Never | None:
        """Why a batch that needs so many slots cannot be admitted now; None if it can."""
        wanted: Counter[Server] = Counter()
        named: dict[Server, str] = {}
        for alias, count in needs.items():
            wanted[server_of(alias)] += count
            named.setdefault(server_of(alias), alias)
        waits: Waits | None = None
        for server, count in wanted.items():
            alias, capacity = named[server], self._capacities[server]
            if isinstance(capacity, str):
                waits = waits or Waits(words=f"database {alias}, which cannot be reached: {capacity}")
                continue
            if capacity.one_writer and count > 1:
                return Never(
                    reason=f"{count:,} tasks write to {alias}, which takes one writer at a time, so they would wait for"
                    " each other: let one task do the work of all, or split the batch"
                )
            if count > capacity.slots:
                return Never(
                    reason=f"{count:,} tasks write to the server of {alias}, which holds at most {capacity.slots:,}"
                    f" prepared transactions: raise max_prepared_transactions there, or split the batch"
                )
            free = capacity.slots - capacity.strangers - self._taken[server]
            if count > free and capacity.one_writer:
                waits = waits or Waits(words=f"its turn on {alias}, which one batch at a time can write to")
            elif count > free:
                waits = waits or Waits(words=f"{count:,} prepared slots on {alias}, {max(free, 0):,} free")
        return waits
