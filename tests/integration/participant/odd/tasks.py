"""Tasks that behave as people's tasks sometimes do. Each writes one row first; its arguments say how it misbehaves."""

import os
import signal
import time
from pathlib import Path

from celery import shared_task
from django.db import connections
from kombu import Connection

from coordination.api import branch_task, current_branch
from coordination.errors import CoordinationError
from demo.models import DemoEntry


def write(db: str, value: str = "") -> None:
    """One row of the current branch."""
    branch = current_branch()
    DemoEntry.objects.using(db).create(batch_id=branch.batch, branch=branch.number, n=0, value=value)


def count(path: str) -> int:
    """How often this was called with ``path``."""
    with open(path, "a") as file:
        file.write("x")
    return len(Path(path).read_text())


@branch_task
def fails(db: str) -> None:
    write(db)
    raise ValueError("these numbers do not add up")


@branch_task
def swallows(db: str) -> None:
    write(db)
    try:
        with connections[db].cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
    except Exception:
        pass


@branch_task
def commits(db: str) -> None:
    write(db)
    with connections[db].cursor() as cursor:
        cursor.execute("COMMIT")


@branch_task(max_retries=3, retry_kwargs={"countdown": 0}, autoretry_for=(OSError,))
def unsteady(db: str, path: str, fails: int) -> None:
    """Raises OSError the first ``fails`` times."""
    write(db)
    if count(path) <= fails:
        raise OSError("the file server is away")


@branch_task(bind=True, max_retries=3)
def cannot_be_sent_again(self, db: str, path: str) -> None:  # type: ignore[no-untyped-def]
    """Asks to be run again, the first time over a broker that is not there."""
    write(db)
    if count(path) == 1:
        raise self.retry(countdown=0, connection=Connection("amqp://127.0.0.1:1//"), retry=False)


@branch_task
def dies(db: str, path: str, times: int) -> None:
    """Kills its process the first ``times`` times."""
    write(db)
    if count(path) <= times:
        os.kill(os.getpid(), signal.SIGKILL)


@branch_task(soft_time_limit=1)
def too_slow(db: str) -> None:
    write(db)
    time.sleep(30)


@branch_task
def waits(db: str, seconds: float) -> None:
    write(db)
    time.sleep(seconds)


@branch_task
def names_its_backend(db: str) -> str:
    with connections[db].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        write(db, str(cursor.fetchone()[0]))
    return "its value"


@branch_task
def only_reads(db: str) -> int:
    return DemoEntry.objects.using(db).count()


@branch_task
def same_key(db: str, key: int) -> None:
    branch = current_branch()
    with connections[db].cursor() as cursor:
        cursor.execute(
            "INSERT INTO demo_entry (id, batch_id, branch, n, value) VALUES (%s, %s, %s, 0, '')",
            [key, branch.batch, branch.number],
        )


@shared_task
def unrelated(db: str, path: str) -> None:
    """No branch: commits at once, with hooks, as ever."""
    from django.db import transaction

    assert "on_commit" not in vars(connections[db])
    with transaction.atomic(using=db), connections[db].cursor() as cursor:
        cursor.execute("SELECT 1")
        transaction.on_commit(lambda: Path(path).write_text("called"), using=db)
    try:
        current_branch()
    except CoordinationError:
        return
    raise AssertionError("this is no branch")
