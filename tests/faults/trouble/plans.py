"""One plan for all: the test writes down the tasks."""

from collections.abc import Iterator
from typing import Any

from django import forms

from coordination.api import BranchSpec, Plan
from tests.faults.trouble import tasks


class Scripted(Plan):
    """A list of ``[task, database, arguments…]``."""

    class Params(forms.Form):
        script = forms.JSONField(help_text="The tasks.")

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        for task, database, *arguments in params["script"]:
            yield getattr(tasks, task).branch(*arguments, database=customer.database(database))
