"""Admission: a batch is dispatched when its branches fit into the prepared slots its servers have left.

A branch keeps one slot of ``max_prepared_transactions`` from its vote to the decision. Open batches reserve theirs
when they are admitted, under one advisory lock in the journal's database, so that two nodes never promise a slot
twice. Strangers' prepared transactions are counted off.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, transaction

from coordination import conf
from coordination.journal.claims import Claim
from coordination.protocol.gid import installation_prefix
from coordination.protocol.states import BatchState

_LOCK = 0x636F6F72  # "coor"


Server = tuple[str, str]
"""Host and port: aliases that share them share their prepared slots."""


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


def admit(claim: Claim) -> Admitted | Waits | Never | None:
    """Admit the batch if it fits; None if it is not ours any more or not pending."""
    with transaction.atomic(using=DEFAULT_DB_ALIAS), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute(
            "SELECT b.customer_id, c.slug, c.max_running_batches FROM coordination_batch b"
            " JOIN coordination_customer c ON c.id = b.customer_id"
            " WHERE b.id = %s AND b.epoch = %s AND b.state = %s AND b.dispatched IS NULL",
            [claim.batch, claim.epoch, BatchState.PENDING.value],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        customer, slug, limit = row
        cursor.execute(
            "SELECT count(*) FROM coordination_batch"
            " WHERE customer_id = %s AND dispatched IS NOT NULL AND ended IS NULL",
            [customer],
        )
        running = cursor.fetchone()[0]
        if limit and running >= limit:
            return Waits(words=f"one of the {limit} batches {slug} may run at once ({running} are running)")
        verdict = _fits(_needs(cursor, claim), _reserved(cursor))
        if verdict is not None:
            return verdict
        cursor.execute(
            "UPDATE coordination_batch SET dispatched = clock_timestamp(),"
            " deadline = clock_timestamp() + make_interval(secs => deadline_seconds)"
            " WHERE id = %s AND epoch = %s RETURNING deadline_seconds::float8, extract(epoch FROM deadline)::float8",
            [claim.batch, claim.epoch],
        )
        deadline_in, deadline = cursor.fetchone()
        return Admitted(deadline_in=deadline_in, deadline=deadline)


def _needs(cursor: Any, claim: Claim) -> dict[str, int]:
    """Slots the batch needs, by alias."""
    cursor.execute(
        "SELECT alias, count(*) FROM coordination_branch WHERE batch_id = %s GROUP BY alias ORDER BY alias",
        [claim.batch],
    )
    return dict(cursor.fetchall())


def _reserved(cursor: Any) -> dict[str, int]:
    """Slots other open batches were promised, by alias."""
    cursor.execute(
        "SELECT r.alias, count(*) FROM coordination_branch r JOIN coordination_batch b ON b.id = r.batch_id"
        " WHERE b.dispatched IS NOT NULL AND b.ended IS NULL AND r.finished IS NULL GROUP BY r.alias"
    )
    return dict(cursor.fetchall())


def _fits(needs: Mapping[str, int], reserved: Mapping[str, int]) -> Waits | Never | None:
    wanted: Counter[Server] = Counter()
    taken: Counter[Server] = Counter()
    named: dict[Server, str] = {}
    for alias, count in needs.items():
        wanted[_server(alias)] += count
        named.setdefault(_server(alias), alias)
    for alias, count in reserved.items():
        taken[_server(alias)] += count
    for server, count in wanted.items():
        alias = named[server]
        try:
            slots, strangers = _capacity(alias)
        except (DatabaseError, InterfaceError) as error:
            connections[alias].close()
            return Waits(words=f"database {alias}, which cannot be reached: {str(error).splitlines()[0]}")
        if count > slots:
            return Never(
                reason=f"{count} tasks write to the server of {alias}, which can hold {slots} prepared transactions:"
                f" raise max_prepared_transactions there, or split the batch"
            )
        free = slots - strangers - taken[server]
        if count > free:
            return Waits(words=f"{count} prepared slots on {alias}, {max(free, 0)} free")
    return None


def _server(alias: str) -> Server:
    settings = connections[alias].settings_dict
    return str(settings.get("HOST") or "localhost"), str(settings.get("PORT") or "5432")


def _capacity(alias: str) -> tuple[int, int]:
    """Prepared slots of the alias's server, and how many of them strangers use."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('max_prepared_transactions')::int,"
            " (SELECT count(*) FROM pg_prepared_xact() WHERE NOT starts_with(gid, %s))",
            [installation_prefix(conf.installation())],
        )
        slots, strangers = cursor.fetchone()
        return slots, strangers
