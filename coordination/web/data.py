"""What the live page fetches: a batch's state when the socket fails, and the states' colours."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_safe

from coordination.live.frames import NOTHING, answer
from coordination.live.reading import read
from coordination.web.access import batch_for
from coordination.web.words import states_css

LARGEST_SEQ = 2**63 - 1
"""The largest number the journal's ``seq`` column takes."""


def signed_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer 401 to anonymous visitors: a script cannot follow a redirect to a form."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return JsonResponse({"error": "Sign in first."}, status=401)
        return view(request, *args, **kwargs)

    return guarded


@require_safe
@never_cache
@signed_in
def state(request: HttpRequest, slug: str, batch: UUID) -> HttpResponse:
    """The frame that carries a page from ``?since=`` (default: nothing yet) to now: a snapshot or a delta."""
    try:
        since = int(request.GET.get("since", NOTHING))
    except ValueError:
        since = None
    if since is None or not NOTHING <= since <= LARGEST_SEQ:
        return JsonResponse({"error": "since must be a seq as frames have it, or -1."}, status=400)
    update = read(batch_for(request.user, slug, batch).pk, since)
    if update is None:  # pruned since we looked
        return JsonResponse({"error": "There is no such batch any more."}, status=404)
    return HttpResponse(answer(update), content_type="application/json")


@require_safe
@cache_control(public=True, max_age=300)
def states(request: HttpRequest) -> HttpResponse:
    """The style sheet of the states' colours, from the protocol's own table."""
    return HttpResponse(states_css(), content_type="text/css; charset=utf-8")
