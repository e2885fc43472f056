"""Who manages what: nodes' heartbeats, claiming batches, and reading them to go on.

The lease is the node's: a batch may be claimed when its node has not been heard of for ``LEASE_SECONDS`` by the
database's clock, so that renewing costs one row a second however many batches a node manages. What protects a batch
is not the lease but its epoch, which each claim raises.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections

from coordination import conf
from coordination.protocol.states import BATCH_ENDED, BatchState, BranchState, Decision, Kind
from coordination.protocol.stored import Snapshot, StoredAttempt, StoredBranch

from .generation import Standing, standing

LEASE_SECONDS = 4.0
"""A node silent for so long may lose its batches to another."""
RENEW_SECONDS = 1.0
SILENT_SECONDS = 1.5
"""A node that was not heard of for so long may have died."""
GIVE_UP_SECONDS = 3.0
"""A node that could not renew for so long, by its own monotonic clock, closes its channels by itself."""

_ENDED = [s.value for s in BATCH_ENDED]

_FREE = f"""
    ended IS NULL AND NOT (id = ANY(%(managed)s)) AND (node = %(node)s OR NOT EXISTS (
        SELECT 1 FROM coordination_node n
        WHERE n.name = coordination_batch.node AND n.heartbeat > clock_timestamp() - interval '{LEASE_SECONDS} s'))
"""

_UNMANAGED = """
    COALESCE((SELECT greatest(extract(epoch FROM clock_timestamp() - n.heartbeat), 0)::float8 FROM coordination_node n
        WHERE n.name = coordination_batch.node AND n.name <> %(node)s), 0)
"""
"""Seconds since the last word of the node that had the batch; none if that said goodbye."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to manage a batch until somebody claims it with a higher epoch."""

    batch: UUID
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A batch as it was read after its claim, with the times its manager needs, in seconds from now."""

    snapshot: Snapshot
    queue: str
    admitted: bool
    created: float
    """Seconds since 1970."""
    start_in: float
    deadline_in: float | None
    deadline: float | None
    """Seconds since 1970, by the journal's clock."""


def heartbeat(node: str, batches: int) -> Standing:
    """This node lives; what the journal says of itself."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "INSERT INTO coordination_node (name, started, heartbeat, batches)"
            " VALUES (%s, clock_timestamp(), clock_timestamp(), %s)"
            " ON CONFLICT (name) DO UPDATE SET heartbeat = clock_timestamp(), batches = EXCLUDED.batches",
            [node, batches],
        )
    return standing()


def leave(node: str) -> None:
    """This node ends: its batches may be claimed at once. Nodes not heard of for a day are forgotten too."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "DELETE FROM coordination_node WHERE name = %s OR heartbeat < clock_timestamp() - interval '1 day'", [node]
        )


def claim(node: str, managed: Collection[UUID], patient: bool = True) -> tuple[list[Claim], bool]:
    """Claim this node's share of the batches that nobody manages, oldest first; True if some were left to others.

    The share is what it lacks of an equal part of all open batches, and one at least, lest a single batch wait for
    another node. Not ``patient``: an equal part of those that are left, for nobody else seems to take them.
    """
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        values: dict[str, Any] = {"managed": list(managed), "node": node}
        cursor.execute(
            f"SELECT count(*) FILTER (WHERE {_FREE}), count(*), (SELECT greatest(count(*), 1) FROM coordination_node"
            f" WHERE heartbeat > clock_timestamp() - interval '{LEASE_SECONDS} s')"
            f" FROM coordination_batch WHERE ended IS NULL",
            values,
        )
        free, open_, nodes = cursor.fetchone()
        if not free:
            return [], False
        lacking = max(-(-open_ // nodes) - len(managed), 1)
        values["share"] = lacking if patient else max(lacking, -(-free // nodes))
        cursor.execute(
            f"UPDATE coordination_batch SET epoch = epoch + 1, node = %(node)s,"
            f" recovery_seconds = recovery_seconds + {_UNMANAGED} WHERE id IN ("
            f" SELECT id FROM coordination_batch WHERE {_FREE} ORDER BY created LIMIT %(share)s"
            f" FOR NO KEY UPDATE SKIP LOCKED) RETURNING id, epoch",
            values,
        )
        return [Claim(batch=row[0], epoch=row[1]) for row in cursor.fetchall()], values["share"] < free


def next_lease_to_end(node: str) -> float | None:
    """Seconds until the first of the other nodes that are silent loses its batches; None if none is silent.

    Whoever looks again just then takes them over in time, however long its pause is otherwise.
    """
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            f"SELECT extract(epoch FROM min(heartbeat) - clock_timestamp() + interval '{LEASE_SECONDS} s')::float8"
            " FROM coordination_node WHERE name <> %s AND heartbeat BETWEEN"
            f" clock_timestamp() - interval '{LEASE_SECONDS} s' AND clock_timestamp() - interval '{SILENT_SECONDS} s'",
            [node],
        )
        seconds = cursor.fetchone()[0]
        return None if seconds is None else max(seconds, 0.0) + 0.01


def still_ours(claim: Claim) -> bool:
    """Nobody has claimed the batch since."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1 FROM coordination_batch WHERE id = %s AND epoch = %s", [claim.batch, claim.epoch])
        return cursor.fetchone() is not None


def load(claim: Claim) -> Loaded | None:
    """The batch as the journal has it, read in statements that began after the claim; None if it is not ours."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT b.state, b.decision, c.queue, b.dispatched IS NOT NULL, extract(epoch FROM b.created)::float8,"
            " extract(epoch FROM b.start_by - clock_timestamp())::float8,"
            " extract(epoch FROM b.deadline - clock_timestamp())::float8, extract(epoch FROM b.deadline)::float8"
            " FROM coordination_batch b JOIN coordination_customer c ON c.id = b.customer_id"
            " WHERE b.id = %s AND b.epoch = %s",
            [claim.batch, claim.epoch],
        )
        head = cursor.fetchone()
        if head is None:
            return None
        state, decision, queue, admitted, created, start_in, deadline_in, deadline = head
        snapshot = Snapshot(
            batch=claim.batch,
            state=BatchState(state),
            decision=Decision(decision) if decision else None,
            branches=_branches(cursor, claim.batch),
            # None of its tasks was sent before it was active.
            attempts=() if state == BatchState.PENDING else _attempts(cursor, claim.batch),
        )
    return Loaded(
        snapshot=snapshot, queue=queue, admitted=admitted, created=created, start_in=start_in,
        deadline_in=deadline_in, deadline=deadline,
    )  # fmt: skip


def _branches(cursor: Any, batch: UUID) -> tuple[StoredBranch, ...]:
    cursor.execute(
        "SELECT number, alias, state, sent, round, gid, kind, proof, process FROM coordination_branch"
        " WHERE batch_id = %s ORDER BY number",
        [batch],
    )
    return tuple(
        StoredBranch(
            number=number, alias=alias, state=BranchState(state), sent=sent, round=round_, gid=gid,
            kind=Kind(kind) if kind else None, proof=proof, process=process,
        )
        for number, alias, state, sent, round_, gid, kind, proof, process in cursor.fetchall()
    )  # fmt: skip


def _attempts(cursor: Any, batch: UUID) -> tuple[StoredAttempt, ...]:
    cursor.execute(
        "SELECT b.number, a.token, a.retries FROM coordination_attempt a JOIN coordination_branch b"
        " ON b.id = a.branch_id WHERE b.batch_id = %s AND a.retries IS NOT NULL",
        [batch],
    )
    return tuple(StoredAttempt(branch=number, token=token, retries=retries) for number, token, retries in cursor)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a person asks of a batch: who, why, and of which tasks (by number) what."""

    id: int
    batch: UUID
    action: str
    by: str
    why: str
    fate: str
    tasks: tuple[int, ...]


def asked(managed: Collection[UUID]) -> list[Asked]:
    """Requests nobody has carried out yet, of batches this node manages."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT id, batch_id, action, by, why, fate, ARRAY(SELECT jsonb_array_elements_text(tasks)::int)"
            " FROM coordination_operatorrequest WHERE handled IS NULL AND batch_id = ANY(%s) ORDER BY id",
            [list(managed)],
        )
        return [
            Asked(id=id, batch=batch, action=action, by=by, why=why, fate=fate, tasks=tuple(tasks))
            for id, batch, action, by, why, fate, tasks in cursor.fetchall()
        ]


def to_clean(node: str, managed: Collection[UUID]) -> list[UUID]:
    """Ended batches whose queue is still there and whose node is gone, or is this one and has dropped them."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT id FROM coordination_batch b WHERE NOT queue_deleted AND state = ANY(%s) AND NOT (id = ANY(%s))"
            " AND (node = %s OR NOT EXISTS (SELECT 1 FROM coordination_node n WHERE n.name = b.node"
            f" AND n.heartbeat > clock_timestamp() - interval '{LEASE_SECONDS} s')) ORDER BY created LIMIT 20",
            [_ENDED, list(managed), node],
        )
        return [row[0] for row in cursor.fetchall()]


def other_installation() -> str | None:
    """What is wrong if the journal is not ``COORDINATION_INSTALLATION``'s, and how to mend it; else None."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT id FROM coordination_installation")
        row = cursor.fetchone()
    ours = conf.installation()
    if row is not None and row[0] == ours:
        return None
    return f"COORDINATION_INSTALLATION is {ours}, but this journal is of installation {row and row[0]}: set it to that"
