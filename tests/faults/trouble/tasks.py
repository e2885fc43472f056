"""Tasks whose trouble is where, when and how they wait. Each writes one row first, so that its effect can be counted.

``wait`` below is bounded: a test that has gone wrong leaves nothing running for long.
"""

import os
import signal
import time
from pathlib import Path

from django.db import connections

from coordination.api import branch_task
from tests.integration.participant.odd.tasks import count, write

LONGEST = 60.0


def wait_for(path: str) -> None:
    """Wait until there is a file ``path``."""
    until = time.monotonic() + LONGEST
    while not Path(path).exists() and time.monotonic() < until:
        time.sleep(0.02)


@branch_task
def writes(db: str) -> None:
    write(db)


@branch_task
def counted(db: str, path: str) -> None:
    """Counts in the file ``path`` how often it ran."""
    write(db)
    count(path)


@branch_task
def waits(db: str, path: str, go: str) -> None:
    """Counts in ``path`` that it began, and goes on when there is a file ``go``."""
    write(db)
    count(path)
    wait_for(go)


@branch_task
def fails(db: str, go: str = "") -> None:
    """Raises, when there is a file ``go``."""
    write(db)
    if go:
        wait_for(go)
    raise ValueError("these numbers do not add up")


@branch_task
def in_sql(db: str, path: str, seconds: float) -> None:
    """One statement that takes so many seconds."""
    write(db)
    count(path)
    with connections[db].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


@branch_task
def many_statements(db: str, path: str, seconds: float) -> None:
    """Short statements, one after the other; writes ``path``.end if it got through all of them."""
    write(db)
    count(path)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with connections[db].cursor() as cursor:
            cursor.execute("SELECT 1")
        time.sleep(0.01)
    Path(f"{path}.end").touch()


@branch_task
def locks(db: str, key: int, path: str, go: str = "") -> None:
    """Inserts the row with this key, when there is a file ``go``: nobody else can, until it is decided."""
    write(db)
    count(path)
    if go:
        wait_for(go)
    with connections[db].cursor() as cursor:
        cursor.execute(
            "INSERT INTO demo_entry (id, batch_id, branch, n, value) VALUES (%s, gen_random_uuid(), 0, 0, '')", [key]
        )


@branch_task
def dies(db: str, path: str) -> None:
    """Kills its process, each time."""
    write(db)
    count(path)
    os.kill(os.getpid(), signal.SIGKILL)


@branch_task
def fills(db: str) -> None:
    """Writes more than fits on a small disk."""
    with connections[db].cursor() as cursor:
        cursor.execute(
            "INSERT INTO demo_entry (batch_id, branch, n, value)"
            " SELECT gen_random_uuid(), 0, n, repeat('x', 2000) FROM generate_series(1, 100000) AS n"
        )
