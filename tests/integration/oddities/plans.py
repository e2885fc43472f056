"""Batches with one or two tasks that misbehave among tasks that do not."""

from collections.abc import Iterator
from typing import Any

from django import forms

from coordination.api import BranchSpec, Plan
from tests.integration.oddities import tasks as ours
from tests.integration.participant.odd import tasks as odd

WAYS = ("swallows", "commits", "siblings", "unsteady", "too_slow", "hangs")


class Odd(Plan):
    """Task 1 on crm and task 2 on ledger behave; the others do as ``how`` says."""

    class Params(forms.Form):
        how = forms.ChoiceField(choices=[(how, how) for how in WAYS])
        path = forms.CharField(help_text="A file in which tasks count how often they ran.")

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        ledger, crm = customer.database("ledger"), customer.database("crm")
        yield odd.waits.branch(0, database=crm)
        yield odd.waits.branch(0, database=ledger)
        match params["how"]:
            case "swallows":
                yield odd.swallows.branch(database=ledger)
            case "commits":
                yield odd.commits.branch(database=ledger)
            case "siblings":
                yield odd.same_key.branch(2_000_000_000, database=ledger)
                yield odd.same_key.branch(2_000_000_000, database=ledger)
            case "unsteady":
                yield odd.unsteady.branch(params["path"], 2, database=ledger)
            case "too_slow":
                yield odd.too_slow.branch(database=ledger)
            case "hangs":
                yield ours.hangs.branch(database=ledger)


class Patient(Plan):
    """So many quick tasks, and a last one that asks to be run again after so many seconds."""

    class Params(forms.Form):
        tasks = forms.IntegerField()
        seconds = forms.FloatField()
        path = forms.CharField(help_text="A file that exists once the last task has run.")

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        databases = [customer.database(name) for name in ("ledger", "warehouse", "crm")]
        yield ours.comes_back.branch(params["path"], params["seconds"], database=databases[0])
        for number in range(2, params["tasks"] + 1):
            yield odd.waits.branch(0, database=databases[number % 3])
