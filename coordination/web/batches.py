"""The page of one batch, live."""

import json
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from coordination.journal import requests
from coordination.journal.wake import wake_nodes
from coordination.live.frames import NOTHING, Head
from coordination.live.reading import read
from coordination.models import Batch, Branch
from coordination.protocol.messages import MAX_REASON
from coordination.protocol.states import LOOKS, BatchState, BranchState, Guarantee
from coordination.web import words
from coordination.web.access import batch_for, may_operate, require_operator
from coordination.web.data import error_text, errors_of
from coordination.web.words import BATCH_LOOKS

ROWS = 500
"""Tasks on one page of a batch's table."""
ERRORS = 20
"""Errors that a batch's page lists above its table; the table, by state, has them all."""
LATEST_REQUESTS = 10
"""What people asked of a batch: the latest ones its page lists."""


@require_safe
@never_cache
@login_required
def batch(request: HttpRequest, slug: str, batch: UUID) -> HttpResponse:
    """One batch as it stands now; the script on the page keeps it so."""
    found = batch_for(request.user, slug, batch)
    update = read(found.pk, NOTHING)
    if update is None:
        raise Http404("There is no such batch any more.")
    branches, only = found.branches.order_by("number"), _state_asked_for(request)
    page = Paginator(branches.filter(state=only) if only else branches, ROWS).get_page(request.GET.get("page"))
    context = {
        "batch": found,
        "customer": found.customer,
        "guarantee": Guarantee(found.guarantee).words,
        "head": update.head,
        "look": BATCH_LOOKS[BatchState(update.head.state)],
        "title_prefix": _title_prefix(update.head),
        "counts": words.counts_for_page(update.head.counts),
        "only": only,
        "only_word": LOOKS[only].word if only else "",
        "errors": errors_of(found.pk)[:ERRORS],
        "page": page,
        "rows": [_row(branch) for branch in page],
        "requests": found.requests.order_by("-id")[:LATEST_REQUESTS],
        "may_operate": may_operate(request.user, found.customer),
        "max_reason": MAX_REASON,
        "page_data": json.dumps(_for_script(request, found)),
    }
    return render(request, "coordination/batch.html", context)


@require_POST
def cancel(request: HttpRequest, slug: str, batch: UUID) -> HttpResponse:
    """Ask that the batch be rolled back, and show it again: the page says "asked" until the journal has the answer."""
    if not request.user.is_authenticated:  # back to the page with the form: what was posted cannot be taken along
        return redirect_to_login(reverse("coordination:batch", kwargs={"slug": slug, "batch": batch}))
    found = batch_for(request.user, slug, batch)
    require_operator(request.user, found.customer)
    requests.cancel(found.pk, by=request.user.get_username(), who=request.user, why=request.POST.get("why", "").strip())
    async_to_sync(wake_nodes)()
    return HttpResponseRedirect(reverse("coordination:batch", kwargs={"slug": slug, "batch": found.pk}))


def _row(branch: Branch) -> dict[str, Any]:
    state = BranchState(branch.state)
    return {"branch": branch, "look": LOOKS[state], "error": error_text(branch.error) if branch.error else ""}


def _state_asked_for(request: HttpRequest) -> BranchState | None:
    """The state that the table is to show alone; None for all, and for what is no state."""
    name = request.GET.get("state", "")
    return BranchState(name) if name in BranchState.__members__ else None


def _title_prefix(head: Head) -> str:
    look = BATCH_LOOKS[BatchState(head.state)]
    return f"{look.mark} {look.word}"


def _for_script(request: HttpRequest, batch: Batch) -> dict[str, Any]:
    """What the script has to know before the first frame; it travels in an attribute."""
    address = {"slug": batch.customer.slug, "batch": batch.pk}
    return {
        "batch": str(batch.pk),
        "socket": f"/ws/batch/{batch.pk}/",
        "state": reverse("coordination:state", kwargs=address),
        "errors": reverse("coordination:errors", kwargs=address),
        "errorsListed": ERRORS,
        "readAt": timezone.now().isoformat(timespec="milliseconds"),
        "looks": words.looks_for_script(),
        "batchLooks": words.batch_looks_for_script(),
        "signIn": f"{_login_url()}?next={request.path}",
    }


def _login_url() -> str:
    return urlsplit(resolve_url(settings.LOGIN_URL)).path
