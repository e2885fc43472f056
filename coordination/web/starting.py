"""Starting a batch from a browser: choose a plan, fill its form, look at a dry run, start.

The plan's form is the one that ``--param`` goes through, and a start is the same launch as any other. The page's own
fields have the prefix ``batch-``, so that a plan may call its parameters as it likes. The key that the page fills in
makes a start that is sent twice lead to one batch.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from asgiref.sync import async_to_sync
from django import forms
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.decorators import login_required
from django.db import InterfaceError, OperationalError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from coordination.errors import KeyReused, RequestError
from coordination.journal.launch import MAX_TEXT, Preview, Request, dry_run, record
from coordination.journal.wake import wake_nodes
from coordination.management.durations import duration, in_words, typed
from coordination.models import Batch, Customer
from coordination.plans import Plan, known_plans
from coordination.redact import is_secret, redacted
from coordination.web.access import customer_for, require_operator

PREFIX = "batch"
KEY, STEP, SEEN = f"{PREFIX}-key", f"{PREFIX}-step", f"{PREFIX}-seen"
OWN_KEY = "page-"
"""What keys begin with that the page has filled in itself."""


class StartForm(forms.Form):
    """What a start has besides the plan's parameters."""

    label = forms.CharField(required=False, max_length=MAX_TEXT, help_text="What people will call this batch.")
    deadline = forms.CharField(
        max_length=40, help_text="Rolled back if not decided so long after its start: 90s, 15m, 1h30m, 2d."
    )
    key = forms.CharField(
        label="Idempotency key",
        max_length=MAX_TEXT,
        help_text="Names this run. A start sent again with the same key finds the batch that exists.",
    )

    def clean_deadline(self) -> timedelta:
        """The deadline as a length of time."""
        try:
            return duration(self.cleaned_data["deadline"])
        except ValueError as error:
            raise forms.ValidationError(f"{error}.") from None


@dataclass
class _Page:
    """What the page shows around its forms."""

    params: forms.Form
    start: StartForm
    preview: Preview | None = None
    seen: str = ""
    problem: str = ""
    other: str = ""
    status: int = 200


@transaction.non_atomic_requests
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def new(request: HttpRequest, slug: str) -> HttpResponse:
    """``?plan=`` the form of a plan (``&again=`` filled in as for that batch), without it the plans to choose from.

    Posted, it shows the dry run of what was filled in; posted once more from there it starts the batch and leads to it.
    """
    customer = customer_for(request.user, slug)
    require_operator(request.user, customer)
    plans = known_plans()
    name = request.GET.get("plan") or (next(iter(plans)) if len(plans) == 1 else "")
    if name not in plans:
        choices = [(each, _about(plan)) for each, plan in plans.items()]
        context = {"customer": customer, "plans": choices, "unknown": name}
        return render(request, "coordination/choose.html", context, status=404 if name else 200)
    again = _again(customer, request.GET.get("again", ""), name)
    if request.method == "POST":
        page = _posted(request, customer, plans[name], again)
        if isinstance(page, UUID):
            return HttpResponseRedirect(reverse("coordination:batch", kwargs={"slug": slug, "batch": page}))
    else:
        page = _Page(*_empty(plans[name], again))
    page.params.label_suffix = page.start.label_suffix = ""
    context = {
        "customer": customer,
        "plan": name,
        "about": _about(plans[name]),
        "several": len(plans) > 1,
        "again": again,
        "page": page,
        "tasks": _tasks(page.preview.tasks) if page.preview else "",
        "deadline": in_words(page.preview.deadline) if page.preview else "",
    }
    return render(request, "coordination/new.html", context, status=page.status)


def _posted(request: HttpRequest, customer: Customer, plan: type[Plan], again: Batch | None) -> _Page | UUID:
    """The batch that was started, or the page to show."""
    page = _Page(plan.Params(request.POST, request.FILES), StartForm(request.POST, prefix=PREFIX))
    if not (page.params.is_valid() & page.start.is_valid()):
        return page
    filled = page.start.cleaned_data
    asked = Request(
        customer=customer,
        plan=plan,
        params={name: value for name, value in page.params.cleaned_data.items() if name in page.params.fields},
        label=filled["label"],
        key=filled["key"],
        deadline=filled["deadline"],
        user=cast(AbstractBaseUser, request.user),
        relaunch_of=again.pk if again else None,
    )
    page.seen = _digest(request.POST)
    starting = request.POST.get(STEP) == "start"
    try:
        if starting and request.POST.get(SEEN) == page.seen:
            launched = record(asked)
            async_to_sync(wake_nodes)()
            return launched.id
        page.preview = dry_run(asked)
        page.problem = "Something was changed after the dry run. This is the new one." if starting else ""
    except RequestError as error:
        page.problem = str(redacted(str(error)))
    except KeyReused as error:
        _refuse_key(page, request, customer, error)
    except (OperationalError, InterfaceError):
        page.status = 503
        page.problem = (
            "The journal cannot be reached, so nobody can tell whether the batch was started. Press the button again "
            "in a while: with the same key it finds the batch if there is one."
        )
    return page


def _refuse_key(page: _Page, request: HttpRequest, customer: Customer, error: KeyReused) -> None:
    """The key was used for another request: say for which batch. One that the page had filled in is filled in anew."""
    page.status = 409
    page.other = reverse("coordination:batch", kwargs={"slug": customer.slug, "batch": error.values["batch"]})
    page.problem = "Another batch was started with this key, from other values."
    if request.POST[KEY].startswith(OWN_KEY):
        fresh = request.POST.copy()
        fresh[KEY] = _key()
        page.start = StartForm(fresh, prefix=PREFIX)
        page.problem += " There is a new key now: go on if you want one more."


def _empty(plan: type[Plan], again: Batch | None) -> tuple[forms.Form, StartForm]:
    """The forms before anything was typed: as the plan says, or as ``again`` was launched, without its secrets."""
    initial: dict[str, Any] = {"deadline": typed(plan.deadline), "key": _key()}
    params: dict[str, Any] = {}
    if again is not None:
        initial |= {"label": again.label, "deadline": typed(timedelta(seconds=again.deadline_seconds))}
        params = {name: value for name, value in again.params.items() if not is_secret(name)}
    return plan.Params(initial=params), StartForm(prefix=PREFIX, initial=initial)


def _again(customer: Customer, text: str, plan: str) -> Batch | None:
    """The customer's batch of that id, if it is one of that plan."""
    try:
        return customer.batches.filter(pk=UUID(text), plan=plan).first()
    except ValueError:
        return None


def _digest(posted: QueryDict) -> str:
    """What was filled in, in short: a start is one of what the dry run was of."""
    ours = {"csrfmiddlewaretoken", KEY, STEP, SEEN}
    filled = sorted((name, values) for name, values in posted.lists() if name not in ours)
    return hashlib.sha256(json.dumps(filled).encode()).hexdigest()[:32]


def _key() -> str:
    return f"{OWN_KEY}{secrets.token_hex(8)}"


def _tasks(count: int) -> str:
    return f"{count:,} task" if count == 1 else f"{count:,} tasks"


def _about(plan: type[Plan]) -> str:
    """The first sentence of what its author says of the plan."""
    return " ".join((plan.__doc__ or "").strip().partition("\n\n")[0].split())
