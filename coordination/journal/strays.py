"""What the journal tells of the batch that a stray names."""

from collections.abc import Sequence
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections

from coordination.protocol.journal_rules import StrayFacts
from coordination.protocol.states import BATCH_ENDED, BRANCH_ENDED, BatchState, Decision


def facts(batch: UUID, gids: Sequence[str]) -> StrayFacts:
    """Facts of ``batch`` and of those of ``gids`` that it adopted, from the primary."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT state, decision FROM coordination_batch WHERE id = %s", [batch])
        row = cursor.fetchone()
        if row is None:
            return StrayFacts(known=False)
        cursor.execute(
            "SELECT gid, bool_and(state = ANY(%s)) FROM coordination_branch WHERE batch_id = %s AND gid = ANY(%s)"
            " GROUP BY gid",
            [[s.value for s in BRANCH_ENDED], batch, list(gids)],
        )
        return StrayFacts(
            known=True,
            decision=Decision(row[1]) if row[1] else None,
            ended=BatchState(row[0]) in BATCH_ENDED,
            adopted=dict(cursor.fetchall()),
        )
