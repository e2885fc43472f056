"""``manage.py resolve_batch ID --retry | --declare FATE --tasks N --reason R | --settle --reason R``."""

import argparse
import sys
from typing import Any

from coordination.errors import NotDecided
from coordination.journal import queries, requests
from coordination.journal.numbers import counted, numbers_in
from coordination.management.asking import AskingCommand
from coordination.management.base import Exit, Failed
from coordination.management.who import who
from coordination.models import Batch, Branch, OperatorRequest
from coordination.protocol.states import BatchState, Decision, Declared

FATES = {fate.value.replace("_", "-"): fate for fate in Declared}
DONE = ("Declared", "Asked", "Noted")
REASON_MISSING = "--reason is missing: it is kept in the journal with who asked."


class Command(AskingCommand):
    """Resolves what does not resolve by itself."""

    help = (
        "For a batch that is decided and does not end. --retry asks its databases again now. For a database that is "
        "gone for good, --declare says what became of its tasks; what differs from the decision, and lost, end the "
        "batch MIXED. --settle marks a MIXED batch as put right. Exits 0 done (with --no-wait: asked), 2 the request "
        "is wrong, 4 not answered within --timeout (the request stands), 5 not done: it had ended, 1 journal "
        "unreachable."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="The batch's id.")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--retry", action="store_true", help="Ask the databases again, now and through any worker.")
        what.add_argument("--declare", choices=list(FATES), help="What became of the tasks, for good.")
        what.add_argument("--settle", action="store_true", help="What a MIXED batch left behind is put right.")
        parser.add_argument("--tasks", metavar="1-5,8|all", help="With --declare: which tasks; all: all unfinished.")
        parser.add_argument("--reason", default="", help="Why, for the journal; needed but for --retry.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be declared, and change nothing.")
        parser.add_argument("--no-input", action="store_true", help="Do not ask for the batch's label first.")
        self.add_asking_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        batch = queries.find(options["id"])
        if options["retry"]:
            request = requests.retry(batch.pk, by=who(), why=options["reason"])
        elif not options["reason"].strip():
            raise Failed(Exit.WRONG_REQUEST, REASON_MISSING)
        elif options["settle"]:
            request = requests.settle(batch.pk, by=who(), why=options["reason"])
        else:
            declared = self._declare(batch, FATES[options["declare"]], options)
            if declared is None:
                return
            request = declared
        result = self.answer(request, no_wait=options["no_wait"], timeout=options["timeout"])
        if result.startswith("Refused"):
            raise Failed(Exit.WRONG_REQUEST, result)
        if not result.startswith(DONE):
            raise Failed(Exit.NOT_AS_DECIDED, result)
        self.stdout.write(result)

    def _declare(self, batch: Batch, fate: Declared, options: dict[str, Any]) -> OperatorRequest | None:
        """The request, or None for a dry run."""
        if batch.decision is None:
            raise NotDecided(batch=str(batch.pk))
        if batch.has_ended:
            raise Failed(Exit.NOT_AS_DECIDED, f"Too late: the batch had already ended {batch.state}")
        waiting = {branch.number: branch for branch in requests.unfinished(batch.pk)}
        numbers = _numbers(options["tasks"], list(waiting))
        touched = [waiting[number] for number in numbers if number in waiting]
        said = self.stdout if options["dry_run"] else self.stderr
        said.write(_announcement(batch, fate, touched))
        if options["dry_run"]:
            missing = [number for number in numbers if number not in waiting]
            self.stdout.write("Nothing was changed." + (f" Not waiting: {counted(missing)}." if missing else ""))
            return None
        if not options["no_input"]:
            self._confirm(batch)
        return requests.declare(batch.pk, fate, numbers, by=who(), why=options["reason"])

    def _confirm(self, batch: Batch) -> None:
        self.stderr.write(f"To go on, type the batch's label ({batch}): ", ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip() != str(batch).strip():
            raise Failed(Exit.WRONG_REQUEST, "Nothing was declared: that is not its label (--no-input does not ask).")


def _numbers(text: str | None, waiting: list[int]) -> list[int]:
    if text is None:
        raise Failed(Exit.WRONG_REQUEST, "--tasks is missing: say which tasks, such as 1-5,8, or all.")
    if text.strip() == "all":
        return waiting
    try:
        return numbers_in(text)
    except ValueError as error:
        raise Failed(Exit.WRONG_REQUEST, f"--tasks: {error}.") from None


def _announcement(batch: Batch, fate: Declared, touched: list[Branch]) -> str:
    """What is about to be said of which tasks, a line each."""
    agrees = fate is (Declared.COMMITTED if batch.decision == Decision.COMMIT else Declared.ROLLED_BACK)
    end = "" if agrees else f" That is not as decided: the batch ends {BatchState.MIXED}."
    lines = [f"Batch {batch.pk} decided {batch.decision}. To be declared {fate.words}, for good:{end}"]
    lines += [f"  {branch} on {branch.database} ({branch.gid})" for branch in touched]
    return "\n".join(lines)
