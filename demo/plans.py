"""The demo's one plan: so many tasks, spread over the customer's databases, one of which may fail."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django import forms

from coordination.api import BranchSpec, Plan
from demo.tasks import write_entries

DATABASES = ("ledger", "warehouse", "crm")


class Demo(Plan):
    """Writes rows that mean nothing."""

    class Params(forms.Form):
        tasks = forms.IntegerField(
            min_value=1, max_value=20_000, initial=100, help_text="How many tasks the batch has, 1 to 20,000."
        )
        fail_at = forms.IntegerField(
            min_value=0,
            max_value=20_000,
            initial=50,
            help_text="Number of the task that fails, dividing by zero; 0: none does.",
        )
        rows = forms.IntegerField(
            min_value=0, max_value=10_000, initial=10, help_text="How many rows each task inserts into its database."
        )
        seconds = forms.DecimalField(
            min_value=0,
            max_value=3600,
            max_digits=7,
            decimal_places=3,
            initial=Decimal(0),
            help_text="How long each task pretends to work.",
        )

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        """Task 1 writes to ledger, 2 to warehouse, 3 to crm, 4 to ledger again."""
        databases = [customer.database(name) for name in DATABASES]
        for number in range(1, params["tasks"] + 1):
            yield write_entries.branch(
                number,
                rows=params["rows"],
                fail_at=params["fail_at"],
                seconds=float(params["seconds"]),
                database=databases[(number - 1) % len(databases)],
            )
