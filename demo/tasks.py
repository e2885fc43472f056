"""The demo's one task."""

import time

from coordination.api import branch_task, current_branch
from demo.models import DemoEntry


@branch_task
def write_entries(db: str, number: int, *, rows: int, fail_at: int, seconds: float) -> None:
    """Insert `rows` rows and work for `seconds`; task number `fail_at` then fails for real."""
    branch = current_branch()
    DemoEntry.objects.using(db).bulk_create(
        DemoEntry(batch_id=branch.batch, branch=number, n=n, value=f"row {n} of task {number}")
        for n in range(1, rows + 1)
    )
    time.sleep(seconds)
    if fail_at:
        5 / (fail_at - number)
