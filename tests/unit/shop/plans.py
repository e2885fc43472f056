"""Plans, each with its own way to go wrong."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django import forms
from django.db import transaction

from coordination.branches import BranchSpec
from coordination.models import Customer, CustomerDatabase
from coordination.plans import Plan


def spec(database: CustomerDatabase, *args: Any, **kwargs: Any) -> BranchSpec:
    """A task that nobody will run."""
    return BranchSpec(
        task="shop.tasks.load", name="load", database=database.name, alias=database.alias, args=args, kwargs=kwargs
    )


class Loads(Plan):
    """A well-behaved plan with one parameter of each kind."""

    class Params(forms.Form):
        count = forms.IntegerField(min_value=0, max_value=30_000, initial=3)
        day = forms.DateField(required=False)
        price = forms.DecimalField(required=False)
        dry = forms.BooleanField(required=False, initial=True)
        kinds = forms.MultipleChoiceField(choices=[("a", "A"), ("b", "B")], required=False)
        note = forms.CharField(required=False)
        extra = forms.JSONField(required=False)
        whose = forms.ModelChoiceField(Customer.objects.all(), required=False)

    def branches(self, customer: Customer, params: dict[str, Any]) -> Iterator[BranchSpec]:
        for number in range(1, params["count"] + 1):
            yield spec(customer.database("ledger"), number, note=params["note"])


class Broken(Plan):
    """Does what ``how`` says."""

    name = "broken-plan"
    deadline = timedelta(minutes=2)
    block = transaction.atomic()

    class Params(forms.Form):
        how = forms.CharField()

    def branches(self, customer: Customer, params: dict[str, Any]) -> Iterator[Any]:
        yield from getattr(self, params["how"])(customer)

    def raises(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("ledger"))
        raise FileNotFoundError(2, "No such file or directory", "/data/today")

    def no_task(self, customer: Customer) -> Iterator[Any]:
        yield "load"

    def unknown_database(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("archive"))

    def somebody_elses(self, customer: Customer) -> Iterator[Any]:
        other = CustomerDatabase.objects.exclude(customer=customer).get(name="vault")
        yield spec(other)

    def swapped_alias(self, customer: Customer) -> Iterator[Any]:
        yield replace(spec(customer.database("ledger")), alias="default")

    def not_enlisted(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("plain"))

    def too_large(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("ledger"), "ü" * 33_000)

    def fits(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("ledger"), "x" * 65_000)

    def not_json(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("ledger"), timedelta(1))

    def nan(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("ledger"), float("nan"))

    def nul(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("ledger"), {"a": ["\x00"]})

    def half_a_character(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("ledger"), "\ud800")

    def backslash_u(self, customer: Customer) -> Iterator[Any]:
        yield spec(customer.database("ledger"), r"\u0000 \N", tab="\t\n")

    def slow(self, customer: Customer) -> Iterator[Any]:
        while True:
            time.sleep(0.01)
            yield spec(customer.database("ledger"))

    def endless(self, customer: Customer) -> Iterator[Any]:
        database = customer.database("ledger")
        while True:
            yield spec(database)

    def leaves_atomic(self, customer: Customer) -> Iterator[Any]:
        Broken.block.__enter__()
        yield spec(customer.database("ledger"))


class _Base(Plan):
    """Not a plan: its name begins with an underscore."""

    def branches(self, customer: Customer, params: dict[str, Any]) -> Iterator[BranchSpec]:
        yield from ()


class Abstract(Plan):
    """Not a plan: it has no branches."""
