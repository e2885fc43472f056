"""Who may see and do what on pages: outsiders find nothing, members may do what their role allows.

What does not exist and what is not to be seen answer alike: Http404.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from coordination.models import Batch, Customer, Role
from coordination.web.viewing import address_of

BatchView = Callable[[HttpRequest, Batch], HttpResponse]
AddressedView = Callable[[HttpRequest, str, UUID], HttpResponse]
"""A view as an address with a customer's slug and a batch's id calls it."""
Require = Callable[[Any, Customer], None]
"""Raises PermissionDenied for a member who may not do something."""

OPERATORS = frozenset({Role.OPERATOR, Role.APPROVER})


def customer_for(user: Any, slug: str) -> Customer:
    """The customer of that slug, if ``user`` may see it; else Http404."""
    customer = Customer.objects.for_user(user).filter(slug=slug).first()
    if customer is None:
        raise Http404("There is no such customer, or it is not yours to see.")
    return customer


def batch_for(user: Any, slug: str, batch: UUID) -> Batch:
    """The customer's batch of that id, with its customer, if ``user`` may see it; else Http404."""
    found = Batch.objects.for_user(user).select_related("customer", "created_by")
    one = found.filter(pk=batch, customer__slug=slug).first()
    if one is None:
        raise Http404("There is no such batch, or it is not yours to see.")
    return one


def may_operate(user: Any, customer: Customer) -> bool:
    """Whether ``user`` may start and cancel batches of ``customer``."""
    return customer.role_of(user) in OPERATORS


def require_operator(user: Any, customer: Customer) -> None:
    """Raise PermissionDenied for a member who may only look."""
    if not may_operate(user, customer):
        raise PermissionDenied("Only operators of this customer may do that; a viewer may look.")


def may_approve(user: Any, customer: Customer) -> bool:
    """Whether ``user`` may declare what became of tasks of ``customer``."""
    return customer.role_of(user) is Role.APPROVER


def require_approver(user: Any, customer: Customer) -> None:
    """Raise PermissionDenied for a member who is not an approver."""
    if not may_approve(user, customer):
        raise PermissionDenied("Only approvers of this customer may do that.")


def of_batch(require: Require) -> Callable[[BatchView], AddressedView]:
    """The view gets the batch that its address names, for whom ``require`` lets pass; see :func:`batch_for`."""

    def decorate(view: BatchView) -> AddressedView:
        @wraps(view)
        def guarded(request: HttpRequest, slug: str, batch: UUID) -> HttpResponse:
            found = batch_for(request.user, slug, batch)
            require(request.user, found.customer)
            return view(request, found)

        return guarded

    return decorate


def posted(require: Require) -> Callable[[BatchView], AddressedView]:
    """As :func:`of_batch`, for what a form on the batch's page posts.

    Who is not signed in is led to that page, by way of signing in: what was posted cannot be taken along.
    """

    def decorate(view: BatchView) -> AddressedView:
        allowed = of_batch(require)(view)

        @require_POST
        @wraps(view)
        def signed_in(request: HttpRequest, slug: str, batch: UUID) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login(address_of(slug, batch))
            return allowed(request, slug, batch)

        return signed_in

    return decorate
