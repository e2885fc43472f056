"""The bench's plans."""

from collections.abc import Iterator
from typing import Any

from django import forms

from bench.tasks import in_batch, may_fail, one_of_many
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


class Failing(Plan):
    """So many tasks of ten rows, all in one database; one may fail."""

    class Params(forms.Form):
        tasks = forms.IntegerField(min_value=1, max_value=20_000, help_text="How many tasks.")
        fail_at = forms.IntegerField(min_value=0, help_text="Number of the task that fails; 0: none does.")

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        """All to the customer's `ledger`."""
        ledger = customer.database("ledger")
        for number in range(1, params["tasks"] + 1):
            yield may_fail.branch(number, params["fail_at"], database=ledger)


class Many(Plan):
    """So many tasks of ten rows, spread over the customer's three databases; one may fail."""

    class Params(forms.Form):
        tasks = forms.IntegerField(min_value=1, max_value=20_000, help_text="How many tasks.")
        fail_at = forms.IntegerField(min_value=0, help_text="Number of the task that fails; 0: none does.")

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        """In turns to `ledger`, `warehouse` and `crm`."""
        databases = [customer.database(name) for name in ("ledger", "warehouse", "crm")]
        for number in range(1, params["tasks"] + 1):
            yield one_of_many.branch(number, params["fail_at"], database=databases[number % 3])
