"""The plans of a chaos run."""

from collections.abc import Iterator
from typing import Any

from django import forms

from coordination.api import BranchSpec, Plan
from tests.chaos.load.tables import DATABASES
from tests.chaos.load.tasks import count, take_number


class Load(Plan):
    """So many tasks over three databases on two servers, of which one may fail."""

    class Params(forms.Form):
        tasks = forms.IntegerField(min_value=1)
        fail_at = forms.IntegerField(min_value=0, help_text="0: none fails.")
        seconds = forms.FloatField(min_value=0, help_text="How long each task works.")

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        databases = [customer.database(name) for name in DATABASES]
        for number in range(1, params["tasks"] + 1):
            yield count.branch(
                seconds=params["seconds"], fails=number == params["fail_at"], database=databases[number % 3]
            )


class Order(Plan):
    """One task a database on a counter that all such batches share: they must follow each other alike everywhere."""

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        for name in DATABASES:
            yield take_number.branch(database=customer.database(name))
