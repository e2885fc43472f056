"""Batches over databases of the test's choice."""

from collections.abc import Iterator
from typing import Any

from django import forms

from coordination.api import BranchSpec, Plan
from demo.tasks import write_entries
from tests.faults.holding.tasks import comes_later


class Over(Plan):
    """One task on each of the named databases, in their order; perhaps one more that does not vote for long."""

    class Params(forms.Form):
        names = forms.CharField(help_text="Names of databases, separated by commas.")
        fail_at = forms.IntegerField(initial=0, help_text="The task that fails; 0: none.")
        waits = forms.BooleanField(required=False, help_text="Add a task on ledger that votes in ten minutes.")

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        for number, name in enumerate(params["names"].split(","), 1):
            database = customer.database(name)
            yield write_entries.branch(number, rows=1, fail_at=params["fail_at"], seconds=0.0, database=database)
        if params["waits"]:
            yield comes_later.branch(database=customer.database("ledger"))
