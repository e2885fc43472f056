"""``manage.py health node|worker``: for supervisors of processes that answer no requests."""

import argparse
import socket
from datetime import timedelta
from typing import Any

from celery import current_app
from django.db.models.functions import Now

from coordination.journal.queries import HEARD_SECONDS
from coordination.management.base import Command as BaseCommand
from coordination.management.base import Exit, Failed
from coordination.models import Node

UNHEALTHY = Exit.JOURNAL_UNREACHABLE
"""1, whatever is the matter: it is the one code that every supervisor takes for unhealthy."""


class Command(BaseCommand):
    """Says whether the node of this machine is heard of, or whether workers take tasks."""

    help = (
        "Exit 0 if the node on this machine has been heard of in the journal lately (node), or if a worker reads "
        "Celery's default queue (worker); else 1."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", choices=["node", "worker"])

    def handle(self, *args: Any, **options: Any) -> None:
        words = _node() if options["what"] == "node" else _worker()
        self.stdout.write(words)


def _node() -> str:
    """Which node is heard of. A node's name begins with its machine's."""
    machine = socket.gethostname()
    since = Now() - timedelta(seconds=HEARD_SECONDS)
    node = Node.objects.filter(name__startswith=f"{machine}-", heartbeat__gt=since).first()
    if node is None:
        raise Failed(UNHEALTHY, f"No node on {machine} has been heard of for {HEARD_SECONDS} s.")
    batches = "1 batch" if node.batches == 1 else f"{node.batches} batches"
    return f"Node {node} is heard of and manages {batches}"


def _worker() -> str:
    """How many workers read the default queue."""
    queue = current_app.conf.task_default_queue
    try:
        with current_app.connection_for_read(connect_timeout=5) as connection:
            workers = connection.default_channel.queue_declare(queue, passive=True).consumer_count
    except connection.connection_errors + connection.channel_errors as error:
        raise Failed(UNHEALTHY, f"Queue {queue} cannot be looked at: {type(error).__name__}.") from error
    if not workers:
        raise Failed(UNHEALTHY, f"No worker reads queue {queue}.")
    return f"1 worker reads queue {queue}" if workers == 1 else f"{workers} workers read queue {queue}"
