"""``manage.py show_batch ID``."""

import argparse
import json
from typing import Any

from coordination.journal import queries
from coordination.journal.recorded import recorded
from coordination.management.waiting import WaitingCommand
from coordination.models import Batch, Branch
from coordination.protocol.states import CONTRADICTED, LOOKS, BranchState
from coordination.redact import redacted

MAX_ENTRIES = 100


class Command(WaitingCommand):
    """Shows a batch as the journal has it."""

    help = "Show a batch: how it stands, why, and what its journal says. Exits 0, 2 if there is none."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="The batch's id.")
        parser.add_argument("--failed", action="store_true", help="List the tasks that failed.")
        parser.add_argument("--errors", action="store_true", help="List them with their tracebacks.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        batch = queries.find(options["id"])
        status = queries.status_of(batch)
        if options["json"]:
            shown = {**queries.summary(status), "recorded": recorded(batch).fields()}
            self.stdout.write(json.dumps(shown, ensure_ascii=False))
            return
        self.print_result(status, as_json=False)
        self._recorded(batch)
        self._journal(batch)
        if options["failed"] or options["errors"]:
            self._failed(batch, tracebacks=options["errors"])

    def _recorded(self, batch: Batch) -> None:
        what = recorded(batch)
        if what.in_doubt_seconds is not None:
            longest = what.longest_in_doubt_seconds
            self.stdout.write(f"  in doubt: {what.in_doubt_seconds:g} s, a task at most {longest:g} s")
        if not what.is_quiet:
            self.stdout.write(
                f"  taken over {what.takeovers} times (without a manager for {what.recovery_seconds:g} s), "
                f"{what.redeliveries} tasks run again"
            )

    def _journal(self, batch: Batch) -> None:
        entries = list(batch.entries.order_by("-id")[:MAX_ENTRIES])[::-1]
        for entry in entries:
            self.stdout.write(f"  {entry.at:%Y-%m-%d %H:%M:%S}Z  {redacted(entry.text)}")
        for request in batch.requests.order_by("id"):
            why = f": {request.why}" if request.why else ""
            result = request.result or "not answered yet"
            words = redacted(f"{request}{why} ({result})")
            self.stdout.write(f"  {request.asked:%Y-%m-%d %H:%M:%S}Z  {words}")

    def _failed(self, batch: Batch, *, tracebacks: bool) -> None:
        wrong = Branch.objects.filter(batch=batch, state__in=[BranchState.FAILED, *CONTRADICTED]).order_by("number")
        for branch in wrong[: queries.MAX_ERRORS]:
            error = redacted(branch.error or {})
            words = f"{error.get('type', '')}: {error.get('message', '')}".strip(": ") or branch.how
            look = LOOKS[BranchState(branch.state)]
            self.stdout.write(f"  {look.mark} {branch} ({branch.database}): {look.word}. {redacted(words)}")
            if tracebacks and error.get("traceback"):
                self.stdout.write("".join(f"      {line}\n" for line in error["traceback"].splitlines()))
