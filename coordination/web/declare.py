"""What people do about a batch that does not end by itself, or ended mixed.

Declaring is for a database that is gone for good: its own page lists exactly the tasks it touches, wants the batch's
label typed and a reason, and does nothing by GET. The form carries a key, so that one sent twice is one declaration.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from coordination.errors import NotDecided, NothingUnfinished, NotMixed, RequestKeyReused
from coordination.journal import requests
from coordination.journal.launch import MAX_TEXT
from coordination.journal.numbers import in_words, numbers_in
from coordination.journal.wake import wake_nodes
from coordination.models import Batch, Branch
from coordination.protocol.messages import MAX_REASON
from coordination.protocol.states import Decision, Declared
from coordination.web.access import of_batch, posted, require_approver, require_operator
from coordination.web.batches import show
from coordination.web.viewing import address_of

MOST = 1000
"""Tasks that one form declares; more take several."""

FATES = {
    Declared.COMMITTED: "Committed: what they wrote is there for good",
    Declared.ROLLED_BACK: "Rolled back: nothing of what they wrote is there",
    Declared.LOST: "Lost: nobody can tell any more",
}


class DeclareForm(forms.Form):
    """What is declared, by whom it is confirmed, and why."""

    fate = forms.ChoiceField(
        label="What became of these tasks",
        choices=[(fate.value, words) for fate, words in FATES.items()],
        widget=forms.RadioSelect,
    )
    why = forms.CharField(
        label="Reason",
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="How you know. It is kept in the journal with your name.",
    )
    label = forms.CharField(label="The batch’s label, typed", max_length=400)

    def __init__(self, batch: Batch, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batch = batch
        self.fields["label"].help_text = f"To confirm, type: {batch}"
        self.fields["label"].widget.attrs["autocomplete"] = "off"

    def clean_label(self) -> str:
        """It must be the batch's, letter by letter."""
        if self.cleaned_data["label"] != str(self._batch).strip():
            raise forms.ValidationError("This is not the label of the batch.")
        return str(self.cleaned_data["label"])


@dataclass(frozen=True)
class Touched:
    """The tasks that a form lists, of so many that wait."""

    tasks: Sequence[Branch]
    waiting: int
    databases: Sequence[tuple[str, int]]

    @property
    def numbers(self) -> str:
        """Theirs, as the form sends them."""
        return in_words(task.number for task in self.tasks)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
@of_batch(require_approver)
def declare(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Show which tasks would be declared, and record what is declared of them."""
    if request.method != "POST":
        return _page(request, batch, DeclareForm(batch), request.GET)
    form = DeclareForm(batch, request.POST)
    if not form.is_valid():
        return _page(request, batch, form, request.POST, status=400)
    given = form.cleaned_data
    try:
        requests.declare(
            batch.pk, Declared(given["fate"]), numbers_in(request.POST.get("tasks", "")),
            by=request.user.get_username(), who=request.user, why=given["why"], key=_key(request),
        )  # fmt: skip
    except (NotDecided, NothingUnfinished, RequestKeyReused, ValueError) as error:
        return _page(request, batch, form, request.POST, problem=str(error), status=400)
    async_to_sync(wake_nodes)()
    return HttpResponseRedirect(address_of(batch.customer.slug, batch.pk))


@posted(require_operator)
def retry(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Have the databases of a decided batch asked again now."""
    try:
        requests.retry(batch.pk, by=request.user.get_username(), who=request.user)
    except NotDecided as error:
        return show(request, batch, problem=str(error), status=400)
    async_to_sync(wake_nodes)()
    return HttpResponseRedirect(address_of(batch.customer.slug, batch.pk))


@posted(require_approver)
def settle(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Record that what a mixed batch left behind has been put right, and how."""
    why = request.POST.get("why", "").strip()
    if not why:
        return show(request, batch, problem="Say what was put right, and how.", status=400)
    try:
        requests.settle(batch.pk, by=request.user.get_username(), who=request.user, why=why, key=_key(request))
    except (NotMixed, RequestKeyReused) as error:
        return show(request, batch, problem=str(error), status=400)
    return HttpResponseRedirect(address_of(batch.customer.slug, batch.pk))


def _key(request: HttpRequest) -> str | None:
    return request.POST.get("key", "").replace("\x00", "").strip()[:MAX_TEXT] or None


def _page(
    request: HttpRequest, batch: Batch, form: DeclareForm, asked: Any, *, problem: str = "", status: int = 200
) -> HttpResponse:
    touched = _touched(batch, asked)
    agrees = Declared.COMMITTED if batch.decision == Decision.COMMIT else Declared.ROLLED_BACK
    context = {
        "batch": batch,
        "customer": batch.customer,
        "form": form,
        "touched": touched,
        "asked": asked.get("tasks", ""),
        "database": asked.get("database", ""),
        "agrees": agrees.words,
        "key": asked.get("key") or f"declare-{uuid.uuid4()}",
        "problem": problem,
        "most": MOST,
    }
    return render(request, "coordination/declare.html", context, status=status)


def _touched(batch: Batch, asked: Any) -> Touched:
    """The tasks that wait, those that ``asked`` names if it names any; what was prepared as one stays together."""
    waiting = requests.unfinished(batch.pk)
    counts: dict[str, int] = {}
    for task in waiting:
        counts[task.database] = counts.get(task.database, 0) + 1
    chosen = waiting
    if asked.get("database") in counts:
        chosen = [task for task in chosen if task.database == asked["database"]]
    try:
        numbers = set(numbers_in(asked.get("tasks", "")))
    except ValueError:
        numbers = set()
    if numbers:
        chosen = [task for task in chosen if task.number in numbers]
    named = {task.gid for task in chosen[:MOST]}
    return Touched([task for task in waiting if task.gid in named], len(waiting), sorted(counts.items()))
