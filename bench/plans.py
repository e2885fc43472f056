"""The bench's plan."""

from collections.abc import Iterator
from typing import Any

from django import forms

from bench.tasks import in_batch
from coordination.api import BranchSpec, Plan


class Bench(Plan):
    """So many tasks of ten rows, all in one database."""

    class Params(forms.Form):
        tasks = forms.IntegerField(min_value=1, max_value=20_000, help_text="How many tasks.")

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        """All to the customer's `ledger`."""
        ledger = customer.database("ledger")
        for number in range(1, params["tasks"] + 1):
            yield in_batch.branch(number, database=ledger)
