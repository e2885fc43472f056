"""A process of the drill: ``python -m coordination.drill.member node``, or ``worker`` with the name of its queue.

It is the user's project as it is configured, but for the way to the broker: ``CRASH_DRILL_BROKER`` and
``CRASH_DRILL_CELERY_BROKER`` lead through the drill's links. It says READY on its standard output.
"""

import os
import sys
from typing import Any

import django

READY = "crash drill: ready"


def main(role: str, queue: str = "") -> None:
    """Run a node or a worker until SIGTERM."""
    django.setup()
    from celery import current_app
    from celery.signals import worker_ready
    from django.conf import settings
    from django.core.management import call_command

    settings.COORDINATION_BROKER_URL = os.environ["CRASH_DRILL_BROKER"]
    for name in ("broker_url", "broker_read_url", "broker_write_url"):
        setattr(current_app.conf, name, os.environ["CRASH_DRILL_CELERY_BROKER"])
    if role == "node":
        call_command("runmanager")  # It says "Node … ready".
        return
    import coordination.drill.tasks  # noqa: F401  # no app's tasks.py, so nobody else's worker has it

    worker_ready.connect(_say_ready, weak=False)
    # One process, so that a crash at a point of the protocol ends all of the worker.
    current_app.worker_main(
        ["worker", "--pool=threads", "--concurrency=4", "--without-gossip", "--without-mingle", "-Q", queue]
    )


def _say_ready(**kwargs: Any) -> None:
    print(READY, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
