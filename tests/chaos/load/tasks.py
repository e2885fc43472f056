"""The tasks of a chaos run: what each applies can be counted."""

import time
from uuid import UUID

from django.db import InterfaceError, OperationalError, connections

from coordination.api import branch_task, current_branch

RETRIED = {"autoretry_for": (OperationalError, InterfaceError), "max_retries": 50, "retry_kwargs": {"countdown": 1}}
"""A database that is away is no reason to give a load up: what careful authors write."""


def _apply(db: str, batch: UUID, task: int) -> None:
    with connections[db].cursor() as cursor:
        cursor.execute(
            "INSERT INTO chaos_counter VALUES (%s, %s, 1)"
            " ON CONFLICT (batch, task) DO UPDATE SET n = chaos_counter.n + 1",
            [batch, task],
        )
        cursor.execute("INSERT INTO chaos_ledger VALUES (%s, %s)", [batch, task])


@branch_task(**RETRIED)
def count(db: str, *, seconds: float, fails: bool) -> None:
    """Add one to this task's counter and a line to the ledger, work for ``seconds``, and fail if it is to."""
    branch = current_branch()
    _apply(db, branch.batch, branch.number)
    time.sleep(seconds)
    if fails:
        raise ValueError("this task was drawn to fail")


@branch_task
def take_number(db: str) -> None:
    """As `count`, and take the next number of the counter that all batches of plan `order` share.

    Two such batches may each hold the counter in one database and wait for it in the other. Then one has to give in
    at its first lock timeout: with retries both would hold on to what they have, and stop all others.
    """
    branch = current_branch()
    _apply(db, branch.batch, branch.number)
    with connections[db].cursor() as cursor:
        cursor.execute("UPDATE chaos_shared SET n = n + 1 RETURNING n")
        cursor.execute("INSERT INTO chaos_order VALUES (%s, %s)", [branch.batch, cursor.fetchone()[0]])
