"""What a write reads of the journal: the tasks that it changes, and not all that their batch has."""

import pytest
from django.db import connection

from coordination.journal import writer
from coordination.models import Attempt, Batch, Branch
from coordination.protocol.states import BranchState, Decision, Kind
from coordination.protocol.stored import AttemptChange, BranchChange, Write, WriteResult
from tests.unit.test_web import make

pytestmark = pytest.mark.django_db

TASKS, CHANGED = 2000, 5


def rows_read() -> int:
    """Rows of tasks that this transaction has read so far, by whatever plan."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
            " WHERE relname = 'coordination_branch'"
        )
        return int(cursor.fetchone()[0])


def test_a_write_reads_what_it_changes() -> None:
    """Many small batches are what the planner has heard of; then comes one that is large."""
    for _ in range(50):
        make("acme", tasks=3)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE coordination_branch")
    batch = make("acme", tasks=TASKS)
    Batch.objects.filter(pk=batch.pk).update(epoch=1)
    write = Write(number=1)
    for number in range(1, CHANGED + 1):
        write.branches[number] = BranchChange(
            number=number, state=BranchState.PREPARED, process="w", gid=f"cc_{number}", kind=Kind.TWO_PHASE, round=0
        )
        write.attempts[number, "t"] = AttemptChange(
            branch=number, token="t", process="w", retries=0, vote=Decision.COMMIT
        )  # fmt: skip
    before = rows_read()
    assert writer.store(batch.pk, 1, write, {BranchState.PREPARED: CHANGED}) is WriteResult.STORED
    assert rows_read() - before <= 10 * CHANGED
    assert Branch.objects.filter(batch=batch, gid__startswith="cc_").count() == CHANGED
    assert Attempt.objects.filter(branch__batch=batch, vote="COMMIT").count() == CHANGED
