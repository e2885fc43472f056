"""Waiting for a batch on the command line: progress, warnings, the result, the exit code."""

import argparse
import json
import time
import uuid
from typing import Any

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections

from coordination.errors import UnknownBatch
from coordination.journal import queries, requests
from coordination.journal.queries import BatchStatus
from coordination.management.base import Command, Exit, Failed, length_of_time
from coordination.management.hosting import Host, hosting
from coordination.management.progress import Shown, counted, progress
from coordination.management.who import who
from coordination.protocol.states import BatchState, Decision

NODE_CHECK_SECONDS = 5.0
ENDS = {
    BatchState.COMMITTED: Exit.DONE,
    BatchState.ROLLED_BACK: Exit.ROLLED_BACK,
    BatchState.MIXED: Exit.NOT_AS_DECIDED,
}


class WaitingCommand(Command):
    """A command that may wait for a batch."""

    remedy = "The batch is not touched by that."

    def add_waiting_arguments(self, parser: argparse.ArgumentParser) -> None:
        """``--timeout`` and ``--json``."""
        parser.add_argument(
            "--timeout", type=length_of_time, metavar="30m", help="Stop waiting after this time; the batch goes on."
        )
        parser.add_argument("--json", action="store_true", help="Print the result as one JSON object.")

    def wait_for(self, batch: uuid.UUID, *, timeout: Any, as_json: bool) -> None:
        """Wait until ``batch`` has ended, print the result and end with the exit code that says how."""
        seconds = timeout.total_seconds() if timeout is not None else None
        shown = progress()
        try:
            with hosting() as host:
                last = self._follow(batch, host, shown, seconds)
        finally:
            shown.close()
        self.print_result(last, as_json=as_json)
        if not last.has_ended:
            raise self._time_up(last, seconds or 0.0)
        if ENDS[last.state] is not Exit.DONE:
            raise Failed(ENDS[last.state], f"Batch {batch} is {last.state}: {last.reason}", said=True)

    def _follow(self, batch: uuid.UUID, host: Host, shown: Shown, seconds: float | None) -> BatchStatus:
        """Watch until the end or ``seconds``. Where this process is what runs the batch, only its end will do."""
        nodes = _Nodes()
        last: BatchStatus | None = None
        try:
            for last in queries.watch(batch, seconds):
                shown.show(last)
                if not last.has_ended and not host.take():
                    nodes.look(shown)
        except KeyboardInterrupt:
            if not host.take():
                raise Failed(Exit.INTERRUPTED, f"Interrupted; batch {batch} goes on. {_how_to_watch(batch)}") from None
            return self._cancel(batch, host, shown, "Interrupted")
        if last is None:
            raise UnknownBatch(id=str(batch))
        if last.has_ended or not host.take():
            return last
        return self._cancel(batch, host, shown, f"Not ended within {seconds:g} s")

    def _cancel(self, batch: uuid.UUID, host: Host, shown: Shown, why: str) -> BatchStatus:
        """Cancel a batch that ends with this process, and wait for its end."""
        shown.note(f"{why}: cancelling the batch and waiting for its end, because nothing else here would run it.")
        connections[DEFAULT_DB_ALIAS].close()  # an interrupt may have left it in the middle of a statement
        try:
            requests.cancel(batch, by=who(), why=why)
            host.wake()
            for last in queries.watch(batch):
                shown.show(last)
                host.take()
        except KeyboardInterrupt:
            raise Failed(
                Exit.INTERRUPTED,
                f"Interrupted again: batch {batch} has not ended. `make demo` or manage.py wait_batch {batch} carries "
                "it on.",
            ) from None
        too_late = last.decision is not Decision.ROLLBACK
        shown.note("Too late to cancel it: it had been decided." if too_late else "The batch is cancelled.")
        return last

    def print_result(self, status: BatchStatus, *, as_json: bool) -> None:
        """The result, on stdout."""
        if as_json:
            self.stdout.write(json.dumps(queries.summary(status), ensure_ascii=False))
            return
        label = f' "{status.label}"' if status.label else ""
        lines = [f"{status.state}  batch {status.id}{label}, plan {status.plan} of {status.customer}"]
        if status.reason:
            lines.append(f"  why: {status.reason}")
        elif status.waiting_for:
            lines.append(f"  waiting for {status.waiting_for}")
        lines.append(f"  tasks: {counted(status)}")
        if status.state is BatchState.MIXED:
            lines += [f"  task {e['task']} ({e['name']}): {e['state']}, {e['message']}" for e in self._against(status)]
        if url := queries.url(status):
            lines.append(f"  {url}")
        self.stdout.write("\n".join(lines))

    @staticmethod
    def _against(status: BatchStatus) -> list[dict[str, Any]]:
        return [error for error in queries.errors(status.id) if error["state"] != "FAILED"]

    @staticmethod
    def _time_up(last: BatchStatus, seconds: float) -> Failed:
        if last.decision is None:
            return Failed(
                Exit.UNDECIDED,
                f"Not decided within {seconds:g} s; batch {last.id} goes on. {_how_to_watch(last.id)}",
            )
        return Failed(
            Exit.NOT_AS_DECIDED,
            f"Decided {last.decision}, but not carried out everywhere within {seconds:g} s; batch {last.id} goes on. "
            f"{_how_to_watch(last.id)}",
        )


def _how_to_watch(batch: uuid.UUID) -> str:
    return f"To watch it: manage.py wait_batch {batch}"


class _Nodes:
    """Says once when no manager is heard of, and once when one is back."""

    def __init__(self) -> None:
        self._next = 0.0
        self._missing = False

    def look(self, shown: Shown) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + NODE_CHECK_SECONDS
        try:
            missing = not queries.nodes_heard_of()
        except (OperationalError, InterfaceError):
            connections[DEFAULT_DB_ALIAS].close()
            return  # the journal is away for a moment; the next looks at the batch wait for it, or give up
        if missing and not self._missing:
            shown.note(
                f"Warning: no manager was heard of for {queries.HEARD_SECONDS} s, so nothing will move until one runs "
                "(manage.py runmanager). Waiting."
            )
        elif self._missing and not missing:
            shown.note("A manager is there.")
        self._missing = missing
