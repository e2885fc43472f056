"""(c) Two-phase commit by hand, as people write it on a chord. It forgets what a dead process leaves behind."""

from celery import chord, shared_task
from django.db import connections

from bench.tasks import ALIAS, insert, tell_done


@shared_task(ignore_result=False)
def prepare(run: str, number: int) -> str:
    """Do the work and prepare it."""
    gid = f"hand_{run}_{number}"
    connection = connections[ALIAS]
    connection.set_autocommit(False)
    insert(ALIAS, run, number)
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE TRANSACTION '{gid}'")
    connection.set_autocommit(True)
    return gid


@shared_task(ignore_result=True)
def commit_each(gids: list[str]) -> None:
    """All prepared: commit them."""
    with connections[ALIAS].cursor() as cursor:
        for gid in gids:
            cursor.execute(f"COMMIT PREPARED '{gid}'")
    tell_done()


@shared_task(ignore_result=True)
def roll_back_each(request: object, error: object, traceback: object, run: str) -> None:
    """One failed: roll back those that are prepared by now."""
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s", [f"hand_{run}_%"])
        for (gid,) in cursor.fetchall():
            cursor.execute(f"ROLLBACK PREPARED '{gid}'")


def start(run: str, tasks: int, queue: str) -> None:
    """Send it off."""
    header = [prepare.s(run, number).set(queue=queue) for number in range(1, tasks + 1)]
    failed = roll_back_each.s(run).set(queue=queue)
    chord(header)(commit_each.s().set(queue=queue).on_error(failed))
