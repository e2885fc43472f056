"""Asking something of a batch on the command line: the request is recorded, then its answer is waited for."""

import argparse
import time
from datetime import timedelta

from asgiref.sync import async_to_sync

from coordination.journal import queries
from coordination.journal.wake import wake_nodes
from coordination.management.base import Command, Exit, Failed, length_of_time
from coordination.management.hosting import Host, hosting
from coordination.models import OperatorRequest
from coordination.redact import redacted


class AskingCommand(Command):
    """A command that asks something of a batch."""

    remedy = "Whether the request was recorded is unknown; asking twice does no harm."

    def add_asking_arguments(self, parser: argparse.ArgumentParser) -> None:
        """``--no-wait`` and ``--timeout``."""
        parser.add_argument("--no-wait", action="store_true", help="Return when the request is recorded.")
        parser.add_argument(
            "--timeout",
            type=length_of_time,
            default=timedelta(seconds=30),
            metavar="30s",
            help="How long to wait for the answer (default 30s).",
        )

    def answer(self, request: OperatorRequest, *, no_wait: bool, timeout: timedelta) -> str:
        """What came of ``request``, in words without passwords; "Asked" if that is not waited for."""
        async_to_sync(wake_nodes)()
        if no_wait and request.handled is None:
            return "Asked"
        with hosting() as host:
            self._wait(request, host, time.monotonic() + timeout.total_seconds())
        return str(redacted(request.result))

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
