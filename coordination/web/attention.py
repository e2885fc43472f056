"""The page of what needs attention, across the viewer's customers; live, as the pages of customers are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from coordination.journal import attention
from coordination.journal.attention import Matter, Trouble
from coordination.live.consumers import LiveConsumer
from coordination.live.permission import user_of
from coordination.live.source import Source
from coordination.live.viewer import Bye
from coordination.models import Batch, Customer, CustomerDatabase, Membership, Node, Role
from coordination.protocol.states import BatchState
from coordination.redact import redacted
from coordination.web.attention_orphans import LOOKOUT, MOST, Orphan, Sight
from coordination.web.cards import unmanaged
from coordination.web.customers import frame_of
from coordination.web.data import signed_in
from coordination.web.overview import Look, Parts, PartsPicture, seq_of
from coordination.web.words import BATCH_LOOKS, BatchLook

POLL = 1.0
"""Seconds between two looks while somebody looks."""

WORDS = {
    Matter.MIXED: "Mixed",
    Matter.UNRESOLVED: "Unresolved",
    Matter.OVERDUE: "Past its deadline",
    Matter.STALLED: "Waiting for a worker",
}
TO_DO = {
    Matter.MIXED: "Look at each task marked ⚠ or ? and at its database, put right by hand what differs, "
    "then mark it as put right on its page.",
    Matter.UNRESOLVED: "See that the database is up and that a worker runs that has it: it is asked again by itself. "
    "If it is gone for good, an approver declares what became of its tasks.",
    Matter.OVERDUE: "See that a manager runs: the deadline is kept by the batch's manager.",
    Matter.STALLED: "See that a worker reads this queue. At its deadline the batch is rolled back.",
}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One matter: what it is called, where it leads, what is the matter, since when, and what to do."""

    key: str
    look: BatchLook
    word: str
    name: str
    url: str
    customer: str
    since: datetime | None
    words: str
    to_do: str
    declare: str = ""


def standing(user: Any) -> int:
    """How many things need the attention of ``user``: what the link on every page says."""
    if not getattr(user, "is_authenticated", False):
        return 0
    return attention.count(Batch.objects.for_user(user)) + len(attention.silent_nodes())


def look_at_attention(user: Any) -> Look:
    """What needs the attention of ``user`` now."""
    batches = Batch.objects.for_user(user)
    approves = _approves(user)
    items = [_item(one, approves) for one in attention.troubles(batches)]
    missing = unmanaged() if batches.open().exists() else None
    items += [_silent(number, node, user) for number, node in enumerate(attention.silent_nodes(), start=1)]
    sight = LOOKOUT.sight()
    items += _left_prepared(_theirs(sight, user), user)
    blind = _names(sight.blind, user)
    count = len(items) + (1 if missing else 0)

    def render() -> Parts:
        parts: Parts = []
        if missing:
            markup = render_to_string("coordination/customers/attention.html", {"alarms": [missing]})
            parts.append(("attention", markup))
        parts += [(item.key, render_to_string("coordination/attention/item.html", {"item": item})) for item in items]
        if blind:
            parts.append(("blind", render_to_string("coordination/attention/blind.html", {"names": blind})))
        return parts

    return Look(
        seq=seq_of([missing, items, blind]), render=render, title=f"{f'⚠ {count} · ' if count else ''}Attention"
    )


@dataclass(frozen=True)
class AttentionSource:
    """What needs the attention of the account with that primary key."""

    user: Any
    group: None = None
    poll: float = POLL

    @property
    def name(self) -> str:
        """Whose attention it is."""
        return f"attention of account {self.user}"

    def read(self, since: int) -> Look | None:
        """What needs it now; None if there is no such account any more."""
        user = get_user_model().objects.filter(pk=self.user).first()
        return look_at_attention(user) if user is not None else None

    def picture(self, look: Look) -> PartsPicture:
        """The first picture."""
        return PartsPicture(look)


class AttentionConsumer(LiveConsumer):
    """The page's socket."""

    def look(self, session_key: str | None) -> Source | int:
        """What needs attention of whoever is signed in."""
        user = user_of(session_key)
        return AttentionSource(user.pk) if user.is_authenticated else Bye.SIGN_IN


@require_safe
@never_cache
@login_required
def page(request: HttpRequest) -> HttpResponse:
    """What needs attention, as it stands now; the script on the page keeps it so."""
    look = look_at_attention(request.user)
    data = {
        "socket": "/ws/attention/",
        "state": reverse("coordination:attention_state"),
        "readAt": timezone.now().isoformat(timespec="milliseconds"),
        "signIn": f"{urlsplit(resolve_url(settings.LOGIN_URL)).path}?next={request.path}",
        "name": "Attention",
        "counts": True,
    }
    context = {"parts": look.render(), "look": look, "page_data": json.dumps(data)}
    return render(request, "coordination/attention.html", context)


@require_safe
@never_cache
@signed_in
def state(request: HttpRequest) -> HttpResponse:
    """The frame of the page, for one that has ``?since=``."""
    return frame_of(request, look_at_attention(request.user))


# --- the items ------------------------------------------------------------------------------------------------------


def _approves(user: Any) -> set[int] | None:
    """Primary keys of the customers that ``user`` may declare for; None for all."""
    if user.is_superuser:
        return None
    return set(Membership.objects.filter(user=user, role=Role.APPROVER).values_list("customer", flat=True))


def _item(one: Trouble, approves: set[int] | None) -> Item:
    batch = one.batch
    address = {"slug": batch.customer.slug, "batch": batch.pk}
    may_declare = approves is None or batch.customer_id in approves
    look = BATCH_LOOKS[BatchState(batch.state)]
    return Item(
        key=f"{one.matter}-{batch.pk}",
        look=look,
        word=WORDS[one.matter],
        name=str(batch),
        url=reverse("coordination:batch", kwargs=address),
        customer=batch.customer.name,
        since=one.since,
        words=str(redacted(one.words)),
        to_do=TO_DO[one.matter],
        declare=reverse("coordination:declare", kwargs=address)
        if may_declare and one.matter is Matter.UNRESOLVED
        else "",
    )


def _silent(number: int, node: Node, user: Any) -> Item:
    """A node's name says a machine's, which is not every customer's business: nor is it in the key."""
    name = f"manager {node.name}" if user.is_superuser else "a manager"
    return Item(
        key=f"node-{number}",
        look=BATCH_LOOKS[BatchState.MIXED],
        word="Silent",
        name=name[0].upper() + name[1:],
        url="",
        customer="",
        since=node.heartbeat,
        words="It was not heard of since, and did not say that it would stop. Others take its batches over.",
        to_do="Look at why it went, and see that it is started again: manage.py runmanager.",
    )


def _theirs(sight: Sight, user: Any) -> list[Orphan]:
    """Of what was seen, what ``user`` may see: what no customer's batch is known of is for superusers.

    Cut only then: else what is another's would hide it.
    """
    if user.is_superuser:
        return list(sight.orphans[:MOST])
    customers = set(Customer.objects.for_user(user).values_list("pk", flat=True))
    return [one for one in sight.orphans if one.customer in customers][:MOST]


def _left_prepared(orphans: Sequence[Orphan], user: Any) -> list[Item]:
    """These, with their databases as ``user`` may know them: read at once, however many they are."""
    batches = Batch.objects.select_related("customer").in_bulk({one.batch for one in orphans if one.batch})
    granted = CustomerDatabase.objects.filter(customer__in={one.customer for one in orphans if one.customer})
    own: dict[tuple[int | None, str], str] = {
        (customer, alias): name for customer, alias, name in granted.values_list("customer", "alias", "name")
    }
    items = []
    for one in orphans:
        alias = one.alias if user.is_superuser else own.get((one.customer, one.alias), "a database of its customer")
        items.append(_orphan(one, batches.get(one.batch) if one.batch else None, alias))
    return items


def _orphan(one: Orphan, batch: Batch | None, database: str) -> Item:
    url = reverse("coordination:batch", kwargs={"slug": batch.customer.slug, "batch": batch.pk}) if batch else ""
    known = "its batch is over" if batch else "the journal does not know its batch"
    return Item(
        key=f"gid-{one.gid}",
        look=BATCH_LOOKS[BatchState.COMMITTING],
        word="Left prepared",
        name=str(batch) if batch else one.gid,
        url=url,
        customer=batch.customer.name if batch else "",
        since=None,
        words=f"Prepared transaction {one.gid} is still in {database}, and {known}.",
        to_do="See that a worker runs that has this database, with the account that prepared it: "
        "it is finished as the journal says.",
    )


def _names(aliases: tuple[str, ...], user: Any) -> list[str]:
    """Databases as ``user`` may know them: a customer's own words, or all aliases for a superuser."""
    if user.is_superuser:
        return list(aliases)
    granted = CustomerDatabase.objects.filter(customer__in=Customer.objects.for_user(user), alias__in=aliases)
    return sorted({f"{one.name} of {one.customer.name}" for one in granted.select_related("customer")})
