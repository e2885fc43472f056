"""Parameters of a plan: one form, whether the values come from a page, from ``--param`` or as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model, QuerySet

from coordination.errors import BadParameter
from coordination.journal.arguments import dump
from coordination.plans import Plan

_TRUE_OR_FALSE = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


@dataclass(frozen=True)
class Cleaned:
    """Validated parameters: ``values`` as the plan gets them, ``stored`` as JSON that would bind to the same again."""

    values: dict[str, Any]
    stored: dict[str, Any]


def clean(plan: type[Plan], given: Mapping[str, Any]) -> Cleaned:
    """Validate ``given`` with the plan's form. What is not given takes its field's ``initial``.

    Values may be text, JSON or what the form itself makes of them (its ``cleaned_data``).
    Raises BadParameter, naming each parameter that is unknown or wrong.
    """
    form = plan.Params()
    for name in given:
        if name not in form.fields:
            known = ", ".join(form.fields) or "none"
            raise BadParameter(name=name, problem=f"this plan has no such parameter; it has: {known}.")
    data = {form.add_prefix(name): _value(form, name, field, given) for name, field in form.fields.items()}
    bound = plan.Params({name: value for name, value in data.items() if value is not None})
    if not bound.is_valid():
        raise _bad(bound)
    fields = {name: bound.cleaned_data[name] for name in bound.fields if name in bound.cleaned_data}
    return Cleaned(values=bound.cleaned_data, stored=_stored(fields))


def _value(form: forms.Form, name: str, field: forms.Field, given: Mapping[str, Any]) -> Any:
    """What to bind to ``field``. Forms are lenient where a page could not have sent it; here that would hide a slip."""
    value = given[name] if name in given else form.get_initial_for_field(field, name)
    if isinstance(value, QuerySet):
        value = list(value)
    if isinstance(field, forms.BooleanField) and isinstance(value, str):
        if value.lower() not in _TRUE_OR_FALSE:
            raise BadParameter(name=name, problem=f"{value!r} is neither true nor false.")
        return _TRUE_OR_FALSE[value.lower()]
    if getattr(field.widget, "allow_multiple_selected", False):
        return value if isinstance(value, list | tuple | None) else [value]
    if isinstance(value, list | tuple | dict) and type(field).to_python is forms.CharField.to_python:
        raise BadParameter(name=name, problem="it takes one value, not several.")
    return value


def _bad(form: forms.Form) -> BadParameter:
    """All that is wrong, in one error."""
    problems = []
    for name, errors in form.errors.items():
        label = "" if name == "__all__" else f"Parameter {name}: "
        problems.append(label + " ".join(" ".join(str(error).split()) for error in errors))
    text = " ".join(problems)
    name, _, problem = text.removeprefix("Parameter ").partition(": ")
    if not text.startswith("Parameter "):
        name, problem = "values", text
    return BadParameter(name=name, problem=problem)


class _Encoder(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        if isinstance(o, Model):
            return o.pk
        if isinstance(o, QuerySet | set | frozenset):
            return sorted(o, key=str)
        return super().default(o)


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(values, cls=_Encoder))
        dump(plain)
    except (TypeError, ValueError) as error:
        raise BadParameter(name="values", problem=f"they cannot be kept as JSON ({error}).") from error
    return plain
