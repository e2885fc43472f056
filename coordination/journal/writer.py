"""Carrying a coordinator's writes out: one DB transaction each, guarded by the batch's epoch.

Plain SQL with arrays, because a flush may change thousands of rows. Every unit of work begins with the batch row:
its lock orders what two managers do, and its epoch tells which of them may.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from coordination.protocol.messages import Failure
from coordination.protocol.states import BATCH_ENDED, BRANCH_ENDED, BranchState
from coordination.protocol.stored import AttemptChange, BranchChange, Write, WriteResult

_BATCH = """
    UPDATE coordination_batch SET
        seq = seq + 1, counts = %(counts)s, state = COALESCE(%(state)s, state),
        decision = COALESCE(%(decision)s, decision), reason = COALESCE(%(reason)s, reason),
        waiting_for = CASE WHEN %(state)s::text IS NULL THEN waiting_for ELSE '' END,
        decided = CASE WHEN %(decision)s::text IS NULL THEN decided ELSE clock_timestamp() END,
        ended = CASE WHEN %(ended)s THEN clock_timestamp() ELSE ended END
    WHERE id = %(batch)s AND epoch = %(epoch)s AND (%(decision)s::text IS NULL OR decision IS NULL)
    RETURNING seq
"""

_BRANCHES = """
    UPDATE coordination_branch AS b SET
        seq = %s, state = COALESCE(v.state, b.state), process = COALESCE(v.process, b.process),
        gid = COALESCE(v.gid, b.gid), kind = COALESCE(v.kind, b.kind), proof = COALESCE(v.proof, b.proof),
        round = COALESCE(v.round, b.round), how = COALESCE(v.how, b.how),
        evidence = COALESCE(v.evidence::jsonb, b.evidence), error = COALESCE(v.error::jsonb, b.error),
        sent = b.sent OR v.sent,
        started = CASE WHEN v.started AND b.started IS NULL THEN clock_timestamp() ELSE b.started END,
        prepared = CASE WHEN v.gid IS NULL THEN b.prepared ELSE clock_timestamp() END,
        finished = CASE WHEN v.ended THEN clock_timestamp() ELSE b.finished END
    FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::text[],
                %s::text[], %s::text[], %s::bool[], %s::bool[], %s::bool[])
         AS v(number, state, process, gid, kind, proof, round, how, evidence, error, started, sent, ended),
         LATERAL (SELECT id FROM coordination_branch WHERE batch_id = %s AND number = v.number OFFSET 0) AS found
    WHERE b.id = found.id AND (v.gid IS NULL OR b.gid IS NULL)
"""
"""Found one by one: joined, the planner, whose statistics do not know of a new batch, would read all its branches."""

_ATTEMPTS = """
    INSERT INTO coordination_attempt (branch_id, token, process, retries, vote, error, started, ended)
    SELECT found.id, v.token, v.process, v.retries, v.vote, v.error::jsonb, clock_timestamp(),
           CASE WHEN v.vote IS NULL THEN NULL ELSE clock_timestamp() END
    FROM unnest(%s::int[], %s::text[], %s::text[], %s::int[], %s::text[], %s::text[])
         AS v(number, token, process, retries, vote, error),
         LATERAL (SELECT id FROM coordination_branch WHERE batch_id = %s AND number = v.number OFFSET 0) AS found
    ON CONFLICT (branch_id, token) DO UPDATE SET
        retries = COALESCE(EXCLUDED.retries, coordination_attempt.retries),
        vote = COALESCE(EXCLUDED.vote, coordination_attempt.vote),
        error = COALESCE(EXCLUDED.error, coordination_attempt.error),
        ended = COALESCE(EXCLUDED.ended, coordination_attempt.ended)
"""

_STANDING = """
    SELECT jsonb_build_object('state', b.state, 'decision', b.decision) || CASE WHEN r.tasks = '[]' THEN '{}' ELSE
        jsonb_build_object('tasks', (SELECT jsonb_object_agg(t.number, t.state ORDER BY t.number)
            FROM coordination_branch t WHERE t.batch_id = b.id AND r.tasks @> to_jsonb(t.number))) END
    FROM coordination_batch b WHERE b.id = r.batch_id
"""
"""How the batch of request r, and the tasks that it names, stand."""


class _Untouched(Exception):
    """A guard did not hold: the transaction is rolled back."""


def store(batch: UUID, epoch: int, write: Write, counts: Mapping[BranchState, int]) -> WriteResult:
    """Carry ``write`` out. ``UNTOUCHED`` if the epoch is not ours any more or a fact stands in the way.

    What a database says is raised: the driver takes it for ``UNKNOWN``, and the journal is read again.
    """
    try:
        with transaction.atomic(using=DEFAULT_DB_ALIAS), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            if write.requests:
                _note_before(cursor, batch, list(write.requests))
            cursor.execute(_BATCH, _batch_values(batch, epoch, write, counts))
            row = cursor.fetchone()
            if row is None:
                raise _Untouched
            if write.branches:
                _put_branches(cursor, batch, row[0], list(write.branches.values()))
            if write.attempts:
                _put_attempts(cursor, batch, list(write.attempts.values()))
            for text in write.entries:
                cursor.execute(
                    "INSERT INTO coordination_journalentry (batch_id, at, seq, text)"
                    " VALUES (%s, clock_timestamp(), %s, %s)",
                    [batch, row[0], text],
                )
            if write.requests or write.state in BATCH_ENDED:
                _answer(cursor, batch, write)
    except _Untouched:
        return WriteResult.UNTOUCHED
    return WriteResult.STORED


def _batch_values(batch: UUID, epoch: int, write: Write, counts: Mapping[BranchState, int]) -> dict[str, Any]:
    return {
        "batch": batch,
        "epoch": epoch,
        "counts": json.dumps(counts),
        "state": write.state,
        "decision": write.decision,
        "reason": write.reason if write.decision else None,
        "ended": write.state in BATCH_ENDED,
    }


def _put_branches(cursor: Any, batch: UUID, seq: int, changes: Sequence[BranchChange]) -> None:
    columns = zip(*map(_branch_row, changes), strict=True)
    cursor.execute(_BRANCHES, [seq, *map(list, columns), batch])
    if cursor.rowcount != len(changes):
        raise _Untouched


def _branch_row(c: BranchChange) -> tuple[Any, ...]:
    return (
        c.number, c.state, c.process, c.gid, c.kind, c.proof, c.round, c.how, _json(c.evidence), _json(c.error),
        c.started, c.sent, c.state in BRANCH_ENDED,
    )  # fmt: skip


def _put_attempts(cursor: Any, batch: UUID, changes: Sequence[AttemptChange]) -> None:
    rows = [(a.branch, a.token, a.process, a.retries, a.vote, _json(a.error)) for a in changes]
    cursor.execute(_ATTEMPTS, [*map(list, zip(*rows, strict=True)), batch])


def _note_before(cursor: Any, batch: UUID, requests: list[int]) -> None:
    """Each request is an audit row: how things stood is read in the transaction that changes them."""
    # The batch's row first, as in every unit of work; whether it is ours still is seen right after.
    cursor.execute("SELECT 1 FROM coordination_batch WHERE id = %s FOR NO KEY UPDATE", [batch])
    cursor.execute(
        f"UPDATE coordination_operatorrequest r SET before = ({_STANDING}) WHERE id = ANY(%s) AND handled IS NULL",
        [requests],
    )


def _answer(cursor: Any, batch: UUID, write: Write) -> None:
    """Requests that this write carries out, and at the batch's end all that come too late."""
    answered = (
        f"UPDATE coordination_operatorrequest r SET handled = clock_timestamp(), result = %s, after = ({_STANDING}),"
        f" before = COALESCE(before, ({_STANDING})) WHERE handled IS NULL AND "
    )
    for request, result in write.requests.items():
        cursor.execute(answered + "id = %s", [result, request])
    if write.state in BATCH_ENDED:
        cursor.execute(
            answered + "batch_id = %s", [f"Too late: the batch had already ended {write.state}", batch]
        )


def _json(value: dict[str, Any] | Failure | None) -> str | None:
    if value is None:
        return None
    return json.dumps(asdict(value) if isinstance(value, Failure) else value)


def wait_for(batch: UUID, epoch: int, words: str) -> None:
    """Say what the open batch waits for (empty: nothing any more), if that is news and the batch ours."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "UPDATE coordination_batch SET seq = seq + 1, waiting_for = %s"
            " WHERE id = %s AND epoch = %s AND waiting_for <> %s AND ended IS NULL",
            [words, batch, epoch, words],
        )


def epoch_of(batch: UUID) -> int | None:
    """The batch's epoch now; None if there is no such batch."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT epoch FROM coordination_batch WHERE id = %s", [batch])
        row = cursor.fetchone()
        return row[0] if row else None


def queue_deleted(batch: UUID, epoch: int | None) -> None:
    """Nothing of an ended batch is left on the broker, its callback sent: until then nodes clean it up.

    ``epoch`` is what it was before the queue was deleted; another one since then: somebody has made the queue again.
    """
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "UPDATE coordination_batch SET queue_deleted = TRUE WHERE id = %s AND epoch = %s AND state = ANY(%s)",
            [batch, epoch, [s.value for s in BATCH_ENDED]],
        )


def queue_found(batch: UUID) -> None:
    """An ended batch's queue is there (again). Whoever is cleaning it up must not store that it is gone."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "UPDATE coordination_batch SET queue_deleted = FALSE, epoch = epoch + 1 WHERE id = %s AND state = ANY(%s)",
            [batch, [s.value for s in BATCH_ENDED]],
        )
