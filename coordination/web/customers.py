"""The pages of customers: the viewer's own, and one customer's batches."""

from django.contrib.auth.decorators import login_required
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from coordination.models import Batch, Customer
from coordination.protocol.states import BatchState
from coordination.web import words
from coordination.web.access import customer_for
from coordination.web.words import BATCH_LOOKS

LATEST_BATCHES = 50
"""Batches a customer's page lists."""


@require_safe
@never_cache
@login_required
def customers(request: HttpRequest) -> HttpResponse:
    """The viewer's customers, each with its latest batch."""
    latest = Batch.objects.filter(customer=OuterRef("pk")).order_by("-created").values("pk")[:1]
    found = list(Customer.objects.for_user(request.user).annotate(latest=Subquery(latest)))
    batches = Batch.objects.in_bulk([customer.latest for customer in found if customer.latest])
    cards = [
        {"customer": customer, "batch": batches.get(customer.latest), "look": _look(batches.get(customer.latest))}
        for customer in found
    ]
    return render(request, "coordination/customers.html", {"cards": cards})


@require_safe
@never_cache
@login_required
def customer(request: HttpRequest, slug: str) -> HttpResponse:
    """A customer's latest batches."""
    found = customer_for(request.user, slug)
    batches = found.batches.select_related("created_by").order_by("-created")[:LATEST_BATCHES]
    rows = [{"batch": batch, "look": _look(batch)} for batch in batches]
    return render(request, "coordination/customer.html", {"customer": found, "rows": rows, "most": LATEST_BATCHES})


def _look(batch: Batch | None) -> words.BatchLook | None:
    return BATCH_LOOKS[BatchState(batch.state)] if batch else None
