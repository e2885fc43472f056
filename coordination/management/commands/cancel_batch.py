"""``manage.py cancel_batch ID --reason R``."""

import argparse
from typing import Any

from coordination.journal import queries, requests
from coordination.management.asking import AskingCommand
from coordination.management.base import Exit, Failed
from coordination.management.who import who


class Command(AskingCommand):
    """Asks that a batch be rolled back."""

    help = (
        "Ask that a batch be rolled back; possible until it is decided. Exits 0 cancelled (with --no-wait: asked), "
        "4 not answered within --timeout (the request stands), 5 too late: it was decided, 1 journal unreachable, "
        "2 no such batch."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="The batch's id.")
        parser.add_argument("--reason", default="", help="Why, for the journal.")
        self.add_asking_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        batch = queries.find(options["id"])
        request = requests.cancel(batch.pk, by=who(), why=options["reason"])
        result = self.answer(request, no_wait=options["no_wait"], timeout=options["timeout"])
        if result.startswith("Too late"):
            raise Failed(Exit.NOT_AS_DECIDED, result)
        self.stdout.write(result)
