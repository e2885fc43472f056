"""The work, the same in all: ten rows in one database, by the ORM. Only what is around it differs."""

import os
import time
from typing import Any

from celery import shared_task
from django.db import connections
from django.db.utils import load_backend

from coordination.api import branch_task, current_branch
from demo.models import DemoEntry

ALIAS = "demo_ledger"
ROWS = 10


def insert(db: str, run: Any, number: int) -> None:
    """One statement of ten rows; outside a transaction, Django wraps it in one of its own."""
    DemoEntry.objects.using(db).bulk_create(
        DemoEntry(batch_id=run, branch=number, n=n, value=f"row {n} of task {number}") for n in range(1, ROWS + 1)
    )


def tell_done() -> None:
    """Count one task as committed: a byte at the end of a file, which costs a few microseconds."""
    file = os.open(os.environ["BENCH_DONE"], os.O_WRONLY | os.O_APPEND)
    os.write(file, b".")
    os.close(file)


@branch_task
def in_batch(db: str, number: int) -> None:
    """(a) A task of our batch."""
    insert(db, current_branch().batch, number)


@branch_task
def may_fail(db: str, number: int, fail_at: int) -> None:
    """The same; task ``fail_at`` then fails."""
    insert(db, current_branch().batch, number)
    if fail_at:
        5 / (fail_at - number)


@branch_task
def one_of_many(db: str, number: int, fail_at: int) -> None:
    """A task of one of many batches, which writes down when its work is done; task ``fail_at`` then fails."""
    batch = current_branch().batch
    insert(db, batch, number)
    file = os.open(os.environ["BENCH_DONE"] + ".bodies", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{batch} {number} {time.time()}\n".encode())
    os.close(file)
    if fail_at:
        5 / (fail_at - number)


@shared_task(ignore_result=True)
def bare(run: str, number: int) -> None:
    """(b) As Django people have it: Celery's fixup closes the connection around each task."""
    insert(ALIAS, run, number)
    tell_done()


@shared_task(ignore_result=True)
def empty() -> None:
    """What it costs to be a task."""


_kept: dict[int, Any] = {}


@shared_task(ignore_result=True)
def bare_kept(run: str, number: int) -> None:
    """(b') On a connection that the process keeps from task to task, out of the fixup's sight."""
    kept = _kept.get(os.getpid())
    if kept is None:
        settings = {**connections.settings[ALIAS], "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False}
        kept = _kept[os.getpid()] = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, ALIAS)
    connections[ALIAS] = kept
    try:
        insert(ALIAS, run, number)
    finally:
        del connections[ALIAS]
    tell_done()
