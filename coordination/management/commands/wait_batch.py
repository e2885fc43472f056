"""``manage.py wait_batch ID``."""

import argparse
from typing import Any

from coordination.journal import queries
from coordination.management.waiting import WaitingCommand


class Command(WaitingCommand):
    """Waits for a batch that exists."""

    help = (
        "Wait for a batch to end. Exits 0 committed, 3 rolled back, 4 --timeout passed undecided, 5 mixed or not "
        "carried out everywhere by --timeout, 1 journal unreachable, 2 no such batch, 130 interrupted."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="The batch's id.")
        self.add_waiting_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        batch = queries.find(options["id"])
        self.wait_for(batch.pk, timeout=options["timeout"], as_json=options["json"])
