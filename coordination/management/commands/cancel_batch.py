"""``manage.py cancel_batch ID --reason R``."""

import argparse
import time
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync

from coordination.journal import queries, requests
from coordination.journal.wake import wake_nodes
from coordination.management.base import Command as OurCommand
from coordination.management.base import Exit, Failed, length_of_time
from coordination.management.hosting import Host, hosting
from coordination.management.who import who
from coordination.models import OperatorRequest


class Command(OurCommand):
    """Asks that a batch be rolled back."""

    help = (
        "Ask that a batch be rolled back; possible until it is decided. Exits 0 cancelled (with --no-wait: asked), "
        "4 not answered within --timeout (the request stands), 5 too late: it was decided, 1 journal unreachable, "
        "2 no such batch."
    )
    remedy = "Whether the request was recorded is unknown; asking twice does no harm."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="The batch's id.")
        parser.add_argument("--reason", default="", help="Why, for the journal.")
        parser.add_argument("--no-wait", action="store_true", help="Return when the request is recorded.")
        parser.add_argument(
            "--timeout",
            type=length_of_time,
            default=timedelta(seconds=30),
            metavar="30s",
            help="How long to wait for the answer (default 30s).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        batch = queries.find(options["id"])
        request = requests.cancel(batch.pk, by=who(), why=options["reason"])
        async_to_sync(wake_nodes)()
        if options["no_wait"] and request.handled is None:
            self.stdout.write("Asked")
            return
        with hosting() as host:
            self._wait(request, host, time.monotonic() + options["timeout"].total_seconds())
        self._say(request)

    def _wait(self, request: OperatorRequest, host: Host, until: float) -> None:
        """Until the request is handled, and where this process is what handles it, until the batch has ended."""
        while request.handled is None:
            host.take()
            if time.monotonic() > until:
                raise Failed(
                    Exit.UNDECIDED,
                    f"Not answered yet; the request stands. See manage.py show_batch {request.batch_id}",
                )
            time.sleep(0.1)
            request.refresh_from_db()
        if host.take():
            for _ in queries.watch(request.batch_id, max(until - time.monotonic(), 0)):
                pass

    def _say(self, request: OperatorRequest) -> None:
        if request.result.startswith("Too late"):
            raise Failed(Exit.NOT_AS_DECIDED, request.result)
        self.stdout.write(request.result)
