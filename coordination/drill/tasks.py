"""The drill's task. Only its own worker knows it."""

from django.db import connections

from coordination.api import branch_task, current_branch

TABLE = "coordination_crash_drill"


@branch_task
def write(db: str, *, fails: bool) -> None:
    """One row of this task in the scratch table; fails if it is to."""
    branch = current_branch()
    with connections[db].cursor() as cursor:
        cursor.execute(f"INSERT INTO {TABLE} (batch, task) VALUES (%s, %s)", [branch.batch, branch.number])
    if fails:
        raise ValueError("This task of the crash drill is there to fail.")
