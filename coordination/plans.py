"""Plans: registered recipes that turn validated parameters into a batch's tasks.

A plan is a subclass of :class:`Plan` in ``plans.py`` of an installed app. Nothing registers it: the modules are
looked through when the first plan is asked for.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django import forms
from django.apps import apps
from django.utils.module_loading import module_has_submodule

from coordination.branches import BranchSpec
from coordination.errors import BadPlanName, PlanClash, UnknownPlan

if TYPE_CHECKING:
    from coordination.models import Customer

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


class Plan:
    """Base of all plans: a subclass says which tasks a batch has for a customer and some parameters.

    It is called by its class's name in lower case, unless it has a ``name`` of its own.
    """

    name: str = ""
    deadline = timedelta(minutes=15)
    """How long a batch may take from its dispatch before it is rolled back; a launch may say otherwise."""
    start_within = timedelta(hours=1)
    """How long it may wait to be dispatched before it is refused."""

    class Params(forms.Form):
        """Its parameters: one form for the page, ``--param`` and JSON. A field's ``initial`` is its default."""

    def branches(self, customer: "Customer", params: dict[str, Any]) -> Iterator[BranchSpec]:
        """Yield the batch's tasks, at most 20,000 and within 10 s; ``params`` is the form's cleaned data.

        Runs in the launching process, outside any transaction. It lists work and does none.
        """
        raise NotImplementedError(f"{type(self).__name__} must define branches(self, customer, params)")


def plan_name(plan: type[Plan]) -> str:
    """What ``plan`` is called on the command line and in the journal."""
    return plan.name or plan.__name__.lower()


def known_plans() -> dict[str, type[Plan]]:
    """All plans of the installed apps by name, in alphabetical order.

    Raises PlanClash if two have the same name, BadPlanName for one that could not be typed, and whatever importing an
    app's ``plans.py`` raises.
    """
    return dict(_find_plans())


def get_plan(plan: "str | type[Plan]") -> type[Plan]:
    """The plan of that name. A class must be a registered one: the journal knows plans by name alone.

    Raises UnknownPlan, naming those there are.
    """
    known = _find_plans()
    name = plan if isinstance(plan, str) else plan_name(plan)
    if name not in known or (not isinstance(plan, str) and known[name] is not plan):
        raise UnknownPlan(name=name, known=sorted(known) or ["none"])
    return known[name]


@cache
def _find_plans() -> dict[str, type[Plan]]:
    found: dict[str, type[Plan]] = {}
    for config in apps.get_app_configs():
        if config.module is None or not module_has_submodule(config.module, "plans"):
            continue
        module = import_module(f"{config.name}.plans")
        for value in vars(module).values():
            if _is_plan_of(module.__name__, value):
                _add(found, value)
    return dict(sorted(found.items()))


def _is_plan_of(module: str, value: object) -> bool:
    """Whether ``value`` is a plan that lives in ``module`` or below; a base that others derive from has no branches."""
    return (
        isinstance(value, type)
        and issubclass(value, Plan)
        and value.branches is not Plan.branches
        and not value.__name__.startswith("_")
        and (value.__module__ == module or value.__module__.startswith(f"{module}."))
    )


def _add(found: dict[str, type[Plan]], plan: type[Plan]) -> None:
    name = plan_name(plan)
    if not _NAME.fullmatch(name):
        raise BadPlanName(plan=_where(plan), name=name)
    if found.setdefault(name, plan) is not plan:
        raise PlanClash(name=name, one=_where(found[name]), other=_where(plan))


def _where(plan: type[Plan]) -> str:
    return f"{plan.__module__}.{plan.__qualname__}"
