"""The page of one batch: whole, as the server knows it now, and in parts, which the script on it asks for."""

import json
import uuid
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from coordination.journal.recorded import recorded
from coordination.live.frames import NOTHING, Head, Picture
from coordination.live.reading import read
from coordination.live.standing import PHASES
from coordination.models import Batch, OperatorRequest
from coordination.protocol.messages import MAX_REASON
from coordination.protocol.states import LOOKS, BatchState, Guarantee
from coordination.redact import shown
from coordination.web import words
from coordination.web.access import batch_for, may_approve, may_operate
from coordination.web.data import signed_in
from coordination.web.history import history, launched_by
from coordination.web.problems import problems
from coordination.web.tasks import detail, listed
from coordination.web.timeline import timeline
from coordination.web.viewing import TABS, View, address_of, view_of
from coordination.web.words import BATCH_LOOKS


@require_safe
@never_cache
@login_required
def batch(request: HttpRequest, slug: str, batch: UUID) -> HttpResponse:
    """One batch as it stands now; the script on the page keeps it so."""
    return show(request, batch_for(request.user, slug, batch))


@require_safe
@never_cache
@signed_in
def part(request: HttpRequest, slug: str, batch: UUID, name: str) -> HttpResponse:
    """One part of the page, as markup, for the same parameters: a tab (``table``, …) or ``task``."""
    found, view = batch_for(request.user, slug, batch), view_of(request.GET)
    if name == "task":
        context = {"task": _task(found, view)}
        if context["task"] is None:
            raise Http404("There is no such task in this batch.")
    elif name in TABS and name != "grid":
        context = _tab(found, name, view)
    else:
        raise Http404("The page has no such part.")
    return render(request, f"coordination/batch/{name}.html", {"view": view, "batch": found, **context})


def show(request: HttpRequest, found: Batch, *, problem: str = "", status: int = 200) -> HttpResponse:
    """The whole page; ``problem`` says why what was asked for could not be done."""
    update, view = read(found.pk, NOTHING), view_of(request.GET)
    if update is None:
        raise Http404("There is no such batch any more.")
    head, page = update.head, address_of(found.customer.slug, found.pk)
    # The grid needs the script; without it the table's first page stands in its place.
    tab = "table" if view.tab == "grid" else view.tab
    context = {
        "batch": found,
        "customer": found.customer,
        "guarantee": Guarantee(found.guarantee),
        "promise": words.PROMISES[Guarantee(found.guarantee)],
        "meanings": words.meanings(head.counts),
        "databases": list(found.branches.order_by("database").values_list("database", flat=True).distinct()),
        "launched_by": launched_by(found),
        "relaunches": list(found.relaunches.order_by("created")[:20]),
        "params": shown(found.params),
        "head": head,
        "since": datetime.fromisoformat(head.since),
        "deadline": found.deadline or found.start_by,  # hidden while there is none
        "lasted": found.ended - found.created if found.ended else None,
        "look": BATCH_LOOKS[BatchState(head.state)],
        "steps": words.steps(head.phase, head.decision),
        "title_prefix": words.title_prefix(BatchState(head.state), head.counts, found.tasks),
        "counts": words.counts_for_page(head.counts),
        "failed": any(head.counts.get(LOOKS[state].letter) for state in words.WRONG),
        "view": view,
        "at": "" if request.path == page else page,  # before links to other views of the page: it may answer a POST
        "tabs": TABS,
        "rendered": tab,
        "task": _task(found, view),
        "may_operate": may_operate(request.user, found.customer),
        "may_approve": may_approve(request.user, found.customer),
        "settled": found.requests.filter(action=OperatorRequest.Action.SETTLE).last(),
        "recorded": recorded(found),
        "max_reason": MAX_REASON,
        "key": f"again-{uuid.uuid4()}",
        "problem": problem,
        "page_data": json.dumps(_for_script(found, head, page)),
        "frame": Picture(update).snap(),
        **_tab(found, tab, view),
    }
    return render(request, "coordination/batch.html", context, status=status)


def _tab(batch: Batch, name: str, view: View) -> dict[str, Any]:
    """What a tab shows."""
    if name == "errors":
        return {"problems": problems(batch)}
    if name == "timeline":
        return {"timeline": timeline(batch)}
    if name == "journal":
        events, cut = history(batch)
        return {"events": events, "cut": cut}
    page = listed(batch, view)
    only = LOOKS[view.state].word if view.state else ""
    return {"page": page, "columns": words.columns(view.sort), "state_word": only}


def _task(batch: Batch, view: View) -> dict[str, Any] | None:
    return detail(batch, view.task) if view.task is not None else None


def _for_script(batch: Batch, head: Head, page: str) -> dict[str, Any]:
    """What the script has to know before the first frame; it travels in an attribute."""
    address = {"slug": batch.customer.slug, "batch": batch.pk}
    return {
        "batch": str(batch.pk),
        "page": page,
        "socket": f"/ws/batch/{batch.pk}/",
        "state": reverse("coordination:state", kwargs=address),
        "parts": f"{page}part/",
        "readAt": timezone.now().isoformat(timespec="milliseconds"),
        "looks": words.looks_for_script(),
        "batchLooks": words.batch_looks_for_script(),
        "phases": PHASES,
        "wrong": "".join(LOOKS[state].letter for state in words.WRONG),
        "signIn": f"{urlsplit(resolve_url(settings.LOGIN_URL)).path}?next={page}",
    }
