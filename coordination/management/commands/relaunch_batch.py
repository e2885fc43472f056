"""``manage.py relaunch_batch ID``: the same again."""

import argparse
import sys
import uuid
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync

from coordination.journal import queries
from coordination.journal.launch import Request, record
from coordination.journal.wake import wake_nodes
from coordination.management.base import Exit, Failed
from coordination.management.hosting import hosting
from coordination.management.parameters import typed
from coordination.management.waiting import WaitingCommand
from coordination.management.who import who


class Command(WaitingCommand):
    """Launches a batch with the plan, parameters, label and deadline of another one, and waits for it."""

    help = (
        "Launch a batch again: the same plan, parameters, label and deadline, under a new idempotency key. "
        "Exits as launch_batch does."
    )
    remedy = "If you gave an --idempotency-key, repeat the command with the same one; else look at list_batches first."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="The id of the batch to launch again.")
        parser.add_argument(
            "--param", action="append", default=[], metavar="K=V", help="A parameter that is to be another one."
        )
        parser.add_argument("--idempotency-key", metavar="KEY", help="Names this run (default: a new key).")
        parser.add_argument("--no-wait", action="store_true", help="Return when the batch is recorded.")
        self.add_waiting_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        old = queries.find(options["id"])
        with hosting() as host:
            if options["no_wait"] and host.alone():
                raise Failed(
                    Exit.WRONG_REQUEST,
                    "Nothing was launched: nothing here would run it. Start `make demo` first, or drop --no-wait.",
                )
        key = options["idempotency_key"]
        request = Request(
            customer=old.customer,
            plan=old.plan,
            params=old.params | typed(options["param"]),
            label=old.label,
            key=key if key is not None else f"again-{uuid.uuid4()}",
            deadline=timedelta(seconds=old.deadline_seconds),
            by=who(),
            on_committed=old.on_committed,
            on_rolled_back=old.on_rolled_back,
            relaunch_of=old.pk,
        )
        launched = record(request)
        async_to_sync(wake_nodes)()
        found = " (it exists: same idempotency key)" if launched.attached else f", as {old.pk} was"
        print(f"Batch {launched.id}{found}", file=sys.stderr, flush=True)
        if options["no_wait"]:
            self.print_result(queries.status(launched.id), as_json=options["json"])
            return
        self.wait_for(launched.id, timeout=options["timeout"], as_json=options["json"])
