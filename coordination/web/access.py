"""Who may see and do what on pages: outsiders find nothing, members may do what their role allows.

What does not exist and what is not to be seen answer alike: Http404.
"""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404

from coordination.models import Batch, Customer, Role

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
