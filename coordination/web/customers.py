"""The pages of customers: the viewer's own at a glance, and one customer's batches, open and past."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from coordination.journal.past import launchers, matching
from coordination.live.frames import NOTHING
from coordination.models import Batch, Customer
from coordination.protocol.states import BATCH_ENDED, BatchState
from coordination.web.access import customer_for, may_operate
from coordination.web.cards import line
from coordination.web.data import signed_in
from coordination.web.overview import Look, look_at_customer, look_at_customers
from coordination.web.words import BATCH_LOOKS

ROWS = 25
"""Past batches on one page of the list."""
LAST_PAGE = 4000
LONGEST_SEARCH = 200
LARGEST_SEQ = 2**53
OUTCOMES = [state for state in BatchState if state in BATCH_ENDED]


@require_safe
@never_cache
@login_required
def customers(request: HttpRequest) -> HttpResponse:
    """The viewer's customers as they stand now; the script on the page keeps them so."""
    look = look_at_customers(request.user)
    data = _for_script(request, "/ws/customers/", reverse("coordination:customers_state"), "Customers")
    return render(request, "coordination/customers.html", {"parts": look.render(), "page_data": data, "look": look})


@require_safe
@never_cache
@signed_in
def customers_state(request: HttpRequest) -> HttpResponse:
    """The frame of the page of customers, for one that has ``?since=``."""
    return frame_of(request, look_at_customers(request.user))


@require_safe
@never_cache
@login_required
def customer(request: HttpRequest, slug: str) -> HttpResponse:
    """A customer's open batches as they stand now, and its past ones: by outcome, searched, page by page."""
    found = customer_for(request.user, slug)
    look = look_at_customer(found)
    state = reverse("coordination:customer_state", kwargs={"slug": slug})
    context = {
        "customer": found,
        "parts": look.render(),
        "look": look,
        "page_data": _for_script(request, f"/ws/customer/{slug}/", state, found.name),
        "may_operate": may_operate(request.user, found),
        **_past(request, found),
    }
    return render(request, "coordination/customer.html", context)


@require_safe
@never_cache
@signed_in
def customer_state(request: HttpRequest, slug: str) -> HttpResponse:
    """The frame of a customer's page, for one that has ``?since=``."""
    return frame_of(request, look_at_customer(customer_for(request.user, slug)))


def _past(request: HttpRequest, customer: Customer) -> dict[str, Any]:
    """What the list of past batches shows. What the address says wrongly counts as not said."""
    outcome = request.GET.get("outcome", "").upper()
    only = BatchState(outcome) if outcome in OUTCOMES else None
    search = request.GET.get("q", "").replace("\x00", "").strip()[:LONGEST_SEARCH]
    number = _page_number(request.GET.get("page", ""))
    batches = customer.batches.filter(ended__isnull=False)
    if only:
        batches = batches.filter(state=only)
    if search:
        batches = matching(batches, search)
    batches = batches.select_related("customer", "created_by").order_by("-created")
    found = list(batches[(number - 1) * ROWS : number * ROWS + 1])  # one more tells whether there is another page
    return {
        "rows": _rows(found[:ROWS]),
        "outcomes": [(state.value.lower(), BATCH_LOOKS[state], state is only) for state in OUTCOMES],
        "outcome": only.value.lower() if only else "",
        "search": search,
        "number": number,
        "newer": number - 1,
        "older": number + 1 if len(found) > ROWS and number < LAST_PAGE else 0,
    }


def _rows(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    by = launchers(batch.pk for batch in batches if batch.created_by is None)
    rows = []
    for batch in batches:
        shown = line(batch)
        why = shown.why if shown.state is not BatchState.COMMITTED else ""  # there is but one reason to commit
        who = shown.who or by.get(batch.pk, "")
        rows.append({"line": shown, "tasks": f"{batch.tasks:,}", "by": who, "why": why})
    return rows


def _page_number(text: str) -> int:
    return min(max(1, int(text)), LAST_PAGE) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def frame_of(request: HttpRequest, look: Look) -> HttpResponse:
    """The frame of ``look``, for one that has ``?since=``."""
    text = request.GET.get("since", str(NOTHING))
    digits = text.removeprefix("-")
    since = int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 16 else None
    if since is None or not NOTHING <= since <= LARGEST_SEQ:
        return JsonResponse({"error": "since must be a seq as frames have it, or -1."}, status=400)
    return HttpResponse(look.frame(since), content_type="application/json")


def _for_script(request: HttpRequest, socket: str, state: str, name: str) -> str:
    """What the script has to know before the first frame; it travels in an attribute."""
    sign_in = f"{urlsplit(resolve_url(settings.LOGIN_URL)).path}?next={request.path}"
    read_at = timezone.now().isoformat(timespec="milliseconds")
    return json.dumps({"socket": socket, "state": state, "readAt": read_at, "signIn": sign_in, "name": name})
