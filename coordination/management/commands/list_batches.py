"""``manage.py list_batches``: the latest batches, for people and programs."""

import argparse
import json
from typing import Any

from django.db.models.functions import Now

from coordination.errors import UnknownCustomer
from coordination.journal import queries
from coordination.management.base import Command as OurCommand
from coordination.management.base import length_of_time
from coordination.management.progress import counted
from coordination.models import Batch, Customer
from coordination.protocol.states import BatchState

LIMIT = 50
MOST = 10_000


class Command(OurCommand):
    """Lists batches, the latest first."""

    help = "List batches, the latest first. Exits 0, 2 for a customer that does not exist."
    remedy = "Nothing is changed by that."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--customer", help="Only this customer's.")
        parser.add_argument(
            "--state",
            action="append",
            type=str.upper,
            choices=[state.value for state in BatchState],
            help="Only those in this state; again for several.",
        )
        parser.add_argument("--since", type=length_of_time, metavar="2d", help="Only those launched so recently.")
        parser.add_argument("--limit", type=_limit, default=LIMIT, metavar="N", help=f"At most N (default {LIMIT}).")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        batches = Batch.objects.select_related("customer").order_by("-created", "id")
        if options["customer"] is not None:
            batches = batches.filter(customer=_customer(options["customer"]))
        if options["state"]:
            batches = batches.filter(state__in=options["state"])
        if options["since"] is not None:
            batches = batches.filter(created__gt=Now() - options["since"])
        found = list(batches[: options["limit"]])
        if options["json"]:
            shown = [queries.outline(queries.status_of(batch)) for batch in found]
            self.stdout.write(json.dumps({"batches": shown}, ensure_ascii=False))
            return
        for batch in found:
            status = queries.status_of(batch)
            label = f' "{batch.label}"' if batch.label else ""
            self.stdout.write(
                f"{batch.created:%Y-%m-%d %H:%M:%S}Z  {batch.pk}  {batch.state:<12}  {batch.customer.slug}  "
                f"{batch.plan}{label}  {counted(status)}"
            )


def _customer(slug: str) -> Customer:
    found = Customer.objects.filter(slug=slug).first()
    if found is None:
        known = list(Customer.objects.order_by("slug").values_list("slug", flat=True)[:20])
        raise UnknownCustomer(slug=slug, known=known or ["none"])
    return found


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST:,}")
    return int(text)
