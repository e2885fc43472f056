"""``manage.py launch_batch CUSTOMER PLAN``: for cron, CI and people."""

import argparse
import sys
from typing import Any

from asgiref.sync import async_to_sync

from coordination.journal import queries
from coordination.journal.launch import Launched, Request, record
from coordination.journal.wake import wake_nodes
from coordination.management.base import Exit, Failed, length_of_time
from coordination.management.hosting import hosting
from coordination.management.parameters import parameters
from coordination.management.waiting import WaitingCommand
from coordination.management.who import who
from coordination.protocol.states import Guarantee

EXITS = """\
exit codes:
  0    committed; with --no-wait: accepted
  1    the journal's database cannot be reached, the outcome is unknown: repeat with the same --idempotency-key
  2    the request is wrong and nothing was recorded; retrying is no use
  3    rolled back (or refused, because it can never fit)
  4    --timeout passed and it is not decided; the batch goes on
  5    MIXED, or --timeout passed and the decision is not carried out everywhere
  6    the idempotency key belongs to another request
  130  interrupted; the batch goes on

Where nothing else runs batches (no services, and no `make demo` running), the command does so itself until its batch
has ended: --no-wait is refused with 2, Ctrl-C and --timeout cancel the batch, and the exit code is how it ended.
"""


class Command(WaitingCommand):
    """Launches a batch, and waits for it unless told not to."""

    help = "Launch a batch of a plan for a customer: all of its tasks are committed, or none."
    remedy = (
        "If you gave an --idempotency-key, repeat the command with the same one: it finds the batch if it was "
        "recorded, and launches it if not."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, epilog=EXITS, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("customer", help="Whose batch it is.")
        parser.add_argument("plan", help="What to run.")
        parser.add_argument(
            "--param",
            action="append",
            default=[],
            metavar="K=V",
            help="A parameter of the plan; again for each. One that takes several values may be given several times.",
        )
        parser.add_argument("--params", metavar="FILE", help="Parameters as a JSON object in a file; - is stdin.")
        parser.add_argument("--label", default="", help="What people will call this batch.")
        parser.add_argument(
            "--idempotency-key",
            metavar="KEY",
            help="Names this run: the same request with the same key finds the batch instead of launching another.",
        )
        parser.add_argument(
            "--deadline", type=length_of_time, metavar="15m", help="Rolled back if not decided so long after its start."
        )
        parser.add_argument("--no-wait", action="store_true", help="Return when the batch is recorded.")
        self.add_waiting_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["no_wait"]:
            with hosting() as host:
                if host.alone():
                    raise Failed(
                        Exit.WRONG_REQUEST,
                        "Nothing was launched: nothing here would run it. Start `make demo` first, or drop --no-wait.",
                    )
        launched = self._launch(options)
        if options["no_wait"]:
            self.print_result(queries.status(launched.id), as_json=options["json"])
            return
        self.wait_for(launched.id, timeout=options["timeout"], as_json=options["json"])

    def _launch(self, options: dict[str, Any]) -> Launched:
        request = Request(
            customer=options["customer"],
            plan=options["plan"],
            params=parameters(options["params"], options["param"]),
            label=options["label"],
            key=options["idempotency_key"],
            deadline=options["deadline"],
            by=who(),
        )
        try:
            launched = record(request)
            async_to_sync(wake_nodes)()
        except KeyboardInterrupt:
            raise Failed(
                Exit.INTERRUPTED,
                "Interrupted while launching, perhaps after the batch was recorded: the same command with the same "
                "--idempotency-key tells.",
            ) from None
        found = " (it exists: same idempotency key)" if launched.attached else ""
        print(f"Batch {launched.id}{found}", file=sys.stderr, flush=True)
        guarantee = queries.status(launched.id).guarantee
        if guarantee is not Guarantee.CRASH_SAFE:
            print(f"Guarantee: {guarantee.words.lower()}", file=sys.stderr, flush=True)
        return launched
