"""The pages of customers as live views: parts of a page as markup, rendered once for all who look at them.

    {"t": "snap", "seq": …, "parts": [[key, markup], …], "ended": …, "said": …, "title": …}

``parts`` are in the page's order; ``ended`` is the id of the batch that ended last, ``said`` what became of it. ``seq``
is made from what the frame says, so that every web process gives the same picture the same one.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.template.loader import render_to_string

from coordination.live.frames import NOTHING
from coordination.models import Batch, Customer
from coordination.protocol.states import BatchState
from coordination.web.cards import Alarm, attention, cards, line, open_batches, unmanaged
from coordination.web.words import BATCH_LOOKS

POLL = 0.5
"""Seconds between two looks while somebody looks: nothing hints at a batch that was just launched."""

LATEST = 30
"""Batches among which the one that ended last is looked for."""

Parts = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look brought. ``render`` makes the parts' markup, and is called when it is news."""

    seq: int
    render: Callable[[], Parts]
    title: str
    ended: str = ""
    said: str = ""

    def frame(self, since: int) -> str:
        """The frame for somebody who has ``since``."""
        if since == self.seq:
            return json.dumps({"t": "delta", "from": since, "to": self.seq})
        fields = {"seq": self.seq, "parts": self.render(), "ended": self.ended, "said": self.said, "title": self.title}
        return json.dumps({"t": "snap", **fields}, ensure_ascii=False)


class PartsPicture:
    """The parts as of the last look. There are no deltas: a page has few parts, and a changed one is sent whole."""

    ended = False

    def __init__(self, look: Look) -> None:
        self.seq, self._frame = look.seq, look.frame(NOTHING)

    def fits(self, look: Look) -> bool:
        """Any look does: each is of the whole."""
        return True

    def apply(self, look: Look) -> str | None:
        """Take a look; a frame if it brought something new."""
        if look.seq == self.seq:
            return None
        self.seq, self._frame = look.seq, look.frame(NOTHING)
        return self._frame

    def snap(self) -> str:
        """All parts."""
        return self._frame

    def nothing_new(self) -> str:
        """Nothing but that ``seq`` still holds."""
        return json.dumps({"t": "delta", "from": self.seq, "to": self.seq})


class _PartsSource:
    """What both kinds of pages have in common as live views."""

    group: None = None
    poll: float = POLL

    def picture(self, look: Look) -> PartsPicture:
        """The first picture."""
        return PartsPicture(look)


@dataclass(frozen=True)
class CustomersSource(_PartsSource):
    """The cards of all customers that the account with that primary key may see."""

    user: Any

    @property
    def name(self) -> str:
        """Whose customers they are."""
        return f"customers of account {self.user}"

    def read(self, since: int) -> Look | None:
        """The cards now; None if there is no such account any more."""
        user = get_user_model().objects.filter(pk=self.user).first()
        return look_at_customers(user) if user is not None else None


@dataclass(frozen=True)
class CustomerSource(_PartsSource):
    """The open batches of the customer with that primary key."""

    customer: int

    @property
    def name(self) -> str:
        """Which customer it is."""
        return f"customer {self.customer}"

    def read(self, since: int) -> Look | None:
        """The open batches now; None if there is no such customer any more."""
        customer = Customer.objects.filter(pk=self.customer).first()
        return look_at_customer(customer) if customer is not None else None


def look_at_customers(user: Any) -> Look:
    """The cards of the customers of ``user``."""
    shown = cards(Customer.objects.for_user(user))
    missing = unmanaged() if any(card.is_running for card in shown) else None
    running = sum(card.is_running for card in shown)
    alarms = sum(bool(card.attention) for card in shown)
    title = f"⚠ {alarms} · " if alarms else f"◐ {running} · " if running else ""

    def render() -> Parts:
        alarm = [_alarms([missing])] if missing else []
        return [*alarm, *((card.slug, _markup("card", card=card)) for card in shown)]

    return Look(seq=seq_of([missing, shown]), render=render, title=f"{title}Customers")


def look_at_customer(customer: Customer) -> Look:
    """The open batches of ``customer``, the latest first, after what needs attention."""
    batches = open_batches([customer.pk]).get(customer.pk, [])
    shown = [line(batch) for batch in batches]
    missing = unmanaged() if batches else None
    alarms = [*([missing] if missing else []), *attention(batches)]
    last = _ended_last(customer)
    title = f"⚠ {len(alarms)} · " if alarms else f"◐ {len(shown)} running · " if shown else ""

    def render() -> Parts:
        alarm = [_alarms(alarms)] if alarms else []
        return [*alarm, *((one.id, _markup("open", line=one)) for one in shown)]

    return Look(
        seq=seq_of([alarms, shown, last and last.pk]),
        render=render,
        title=f"{title}{customer.name}",
        ended=str(last.pk) if last else "",
        said=f"{last}: {BATCH_LOOKS[BatchState(last.state)].words}" if last else "",
    )


def _alarms(alarms: list[Alarm]) -> tuple[str, str]:
    return "attention", _markup("attention", alarms=alarms)


def _markup(template: str, **context: Any) -> str:
    return render_to_string(f"coordination/customers/{template}.html", context)


def _ended_last(customer: Customer) -> Batch | None:
    """Of its latest batches the one that ended last: by the index, however many it has."""
    latest = customer.batches.order_by("-created").only("id", "label", "plan", "state", "ended", "customer")[:LATEST]
    return max((batch for batch in latest if batch.ended), key=lambda batch: str(batch.ended), default=None)


def seq_of(shown: list[Any]) -> int:
    """A number that is the same for the same content, and fits into a browser's numbers."""
    return int.from_bytes(hashlib.sha256(repr(shown).encode()).digest()[:6])
