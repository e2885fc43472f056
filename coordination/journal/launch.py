"""Launching: from a request to a batch in the journal.

1.  Outside any transaction: validate the request, run the plan, check every task against the customer's databases.
2.  In one transaction: the batch, all its branches, the first journal entry. Before it nothing is recorded.
3.  Afterwards a hint to the nodes (:mod:`.wake`), which the caller sends and which may be lost.

An idempotency key is unique to its customer: the same request with the same key finds the batch that exists.
"""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections

from coordination.errors import BadRequest, InsideAtomic, KeyReused, UnknownCustomer
from coordination.journal.arguments import MAX_BYTES, NotPlain, dump
from coordination.journal.insert import NewBatch, NewBranch, insert
from coordination.journal.listing import branches_of, guarantee_of, weaker_databases
from coordination.journal.parameters import Cleaned, clean
from coordination.models import Batch, Customer
from coordination.plans import Plan, get_plan, plan_name
from coordination.protocol.states import Guarantee

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

logger = logging.getLogger(__name__)

MIN_DEADLINE = timedelta(seconds=1)
MAX_DEADLINE = timedelta(days=7)
MAX_TEXT = 200
"""Characters of a label or a key."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody wants run. ``customer`` and ``plan`` may be given by name.

    ``on_committed`` and ``on_rolled_back`` are Celery signatures, sent at least once after that end.
    ``by`` says in words who asks, for the journal, where there is no ``user``.
    """

    customer: Customer | str
    plan: type[Plan] | str
    params: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    key: str | None = None
    deadline: timedelta | None = None
    user: "AbstractBaseUser | None" = None
    by: str = ""
    on_committed: Mapping[str, Any] | None = None
    on_rolled_back: Mapping[str, Any] | None = None
    relaunch_of: uuid.UUID | None = None


@dataclass(frozen=True)
class Launched:
    """The batch that a request led to. ``attached``: it existed, under the same idempotency key."""

    id: uuid.UUID
    attached: bool


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a request would lead to. ``databases`` are the customer's names; ``exists``: a batch has its key already.

    ``weaker`` are those of the databases that keep it from being crash-safe.
    """

    tasks: int
    databases: tuple[str, ...]
    weaker: tuple[str, ...]
    guarantee: Guarantee
    deadline: timedelta
    exists: uuid.UUID | None = None


@dataclass(frozen=True)
class _Checked:
    """What a request comes to: the parts that make two requests the same."""

    customer: Customer
    plan: type[Plan]
    params: Cleaned
    deadline: timedelta


def record(request: Request) -> Launched:
    """Put the batch that ``request`` asks for into the journal, or find it there by its idempotency key.

    Raises RequestError when the request is wrong (nothing was recorded), KeyReused when its key belongs to another
    request, and Django's OperationalError or InterfaceError when the journal's database cannot be reached: then the
    batch may exist, and repeating the request with the same key finds it.
    """
    outside_transactions()
    checked = _check(request)
    found = _same_request(request, checked)
    if found is not None:
        return found
    branches = _branches(checked)
    new = _new_batch(request, checked, branches)
    try:
        insert(new, branches)
    except IntegrityError:
        # Somebody was quicker with the same key; anything else is not ours to explain.
        found = _same_request(request, checked)
        if found is None:
            raise
        return found
    logger.info(
        "Batch %s of %s recorded: plan %s, %d tasks.", new.id, checked.customer.slug, new.plan, len(branches),
        extra={"batch": str(new.id)},
    )  # fmt: skip
    return Launched(new.id, attached=False)


def dry_run(request: Request) -> Preview:
    """What :func:`record` would put into the journal, where nothing changes. Raises the same errors."""
    outside_transactions()
    checked = _check(request)
    found = _same_request(request, checked)
    branches = _branches(checked)
    return Preview(
        tasks=len(branches),
        databases=tuple(sorted({branch.database for branch in branches})),
        weaker=weaker_databases(branches),
        guarantee=guarantee_of(checked.customer, branches),
        deadline=checked.deadline,
        exists=found.id if found else None,
    )


def _branches(checked: _Checked) -> list[NewBranch]:
    branches = branches_of(checked.plan, checked.customer, checked.params.values)
    outside_transactions()
    return branches


def _new_batch(request: Request, checked: _Checked, branches: list[NewBranch]) -> NewBatch:
    return NewBatch(
        id=uuid.uuid4(),
        customer=checked.customer.pk,
        plan=plan_name(checked.plan),
        params=checked.params.stored,
        key=request.key,
        label=request.label,
        guarantee=guarantee_of(checked.customer, branches),
        start_within=checked.plan.start_within,
        deadline=checked.deadline,
        created_by=getattr(request.user, "pk", None),
        relaunch_of=request.relaunch_of,
        entry=_entry(request, checked.plan, len(branches)),
        on_committed=request.on_committed,
        on_rolled_back=request.on_rolled_back,
    )


# --- the request ------------------------------------------------------------------------------------------------


def outside_transactions() -> None:
    """Raise InsideAtomic if this thread is inside atomic() of any database: a branch's body is, too."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            raise InsideAtomic(alias=connection.alias)


def _check(request: Request) -> _Checked:
    for name, value in (("The label", request.label), ("The idempotency key", request.key)):
        if value and (len(value) > MAX_TEXT or not value.isprintable()):
            raise BadRequest(name=name, value=repr(value[:40]), problem=f"at most {MAX_TEXT} printable characters.")
    if request.key is not None and not request.key.strip():
        raise BadRequest(name="The idempotency key", value="empty", problem="leave it out, or say what names this run.")
    _check_signature("on_committed", request.on_committed)
    _check_signature("on_rolled_back", request.on_rolled_back)
    customer = _customer(request.customer)
    plan = get_plan(request.plan)
    deadline = _deadline(request.deadline if request.deadline is not None else plan.deadline)
    return _Checked(customer, plan, clean(plan, request.params), deadline)


def _customer(customer: Customer | str) -> Customer:
    """The customer as the journal has it now, with its databases: a plan asks for them once a task."""
    named = {"pk": customer.pk} if isinstance(customer, Customer) else {"slug": customer}
    found = Customer.objects.using(DEFAULT_DB_ALIAS).prefetch_related("databases").filter(**named).first()
    if found is None:
        known = list(Customer.objects.order_by("slug").values_list("slug", flat=True)[:20])
        raise UnknownCustomer(slug=str(getattr(customer, "slug", customer)), known=known or ["none"])
    return found


def _deadline(deadline: timedelta) -> timedelta:
    if not MIN_DEADLINE <= deadline <= MAX_DEADLINE:
        raise BadRequest(name="The deadline", value=str(deadline), problem="it must be from 1 second to 7 days.")
    return timedelta(seconds=round(deadline.total_seconds()))


def _check_signature(name: str, signature: Mapping[str, Any] | None) -> None:
    if signature is None:
        return
    if not isinstance(signature, dict) or not signature.get("task"):
        raise BadRequest(
            name=name, value=type(signature).__name__, problem="give a Celery signature, such as task.s(…)."
        )
    try:
        text = dump(signature)
    except NotPlain as error:
        raise BadRequest(name=name, value="kept as JSON", problem=str(error)) from error
    if len(text.encode()) > MAX_BYTES:
        raise BadRequest(name=name, value="that long", problem=f"at most {MAX_BYTES:,} bytes of JSON.")


def _same_request(request: Request, checked: _Checked) -> Launched | None:
    """The batch that has this request's key, None if there is none. Raises KeyReused if it was another request."""
    if request.key is None:
        return None
    batches = Batch.objects.using(DEFAULT_DB_ALIAS)
    batch = batches.filter(customer=checked.customer, key=request.key).first()
    if batch is None:
        return None
    ours = (plan_name(checked.plan), checked.params.stored, checked.deadline.total_seconds())
    if ours != (batch.plan, batch.params, batch.deadline_seconds):
        raise KeyReused(key=request.key, batch=str(batch.pk), customer=checked.customer.slug)
    return Launched(batch.pk, attached=True)


def _entry(request: Request, plan: type[Plan], tasks: int) -> str:
    who = request.by or (request.user.get_username() if request.user is not None else "a program")
    return f"Launched by {who}: plan {plan_name(plan)}, {tasks:,} task{'s' if tasks != 1 else ''}"
