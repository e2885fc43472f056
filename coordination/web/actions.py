"""What operators ask for on a batch's page: to cancel it, and to launch it again."""

import uuid
from datetime import timedelta
from typing import cast

from asgiref.sync import async_to_sync
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from coordination.errors import KeyReused, RequestError
from coordination.journal import requests
from coordination.journal.launch import MAX_TEXT, Request, record
from coordination.journal.wake import wake_nodes
from coordination.models import Batch
from coordination.redact import redacted
from coordination.web.access import posted, require_operator
from coordination.web.batches import show
from coordination.web.viewing import address_of


@posted(require_operator)
def cancel(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Ask that the batch be rolled back, and show it again: the page says "asked" until the journal has the answer."""
    requests.cancel(batch.pk, by=request.user.get_username(), who=request.user, why=request.POST.get("why", "").strip())
    async_to_sync(wake_nodes)()
    return HttpResponseRedirect(address_of(batch.customer.slug, batch.pk))


@posted(require_operator)
def relaunch(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Launch a batch with the plan, parameters, label and deadline of this one, and show the new one.

    The form carries a key, so that one sent twice leads to the same batch. A request that cannot be launched any more
    (the plan has changed) is said on the page of this one.
    """
    try:
        launched = record(_again(request, batch))
    except (RequestError, KeyReused) as error:
        return show(request, batch, problem=f"Not launched: {redacted(str(error))}", status=400)
    async_to_sync(wake_nodes)()
    return HttpResponseRedirect(address_of(batch.customer.slug, launched.id))


def _again(request: HttpRequest, batch: Batch) -> Request:
    key = request.POST.get("key", "").strip()[:MAX_TEXT]
    return Request(
        customer=batch.customer,
        plan=batch.plan,
        params=batch.params,
        label=batch.label,
        key=key or f"again-{uuid.uuid4()}",
        deadline=timedelta(seconds=batch.deadline_seconds),
        user=cast(AbstractBaseUser, request.user),
        on_committed=batch.on_committed,
        on_rolled_back=batch.on_rolled_back,
        relaunch_of=batch.pk,
    )
