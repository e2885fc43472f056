"""A batch's journal for its page: what happened to it, and what people asked of it, in the order of time."""

from dataclasses import dataclass
from datetime import datetime

from coordination.journal.past import launchers
from coordination.models import Batch, OperatorRequest
from coordination.redact import redacted

MOST = 500
"""Entries that are shown: the latest ones."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the journal; ``by`` is who did it, if a person did."""

    at: datetime
    text: str
    by: str = ""
    note: str = ""


def history(batch: Batch) -> tuple[list[Event], bool]:
    """The latest ``MOST`` events, oldest first, and whether there are more."""
    entries = list(batch.entries.order_by("-id")[: MOST + 1])
    asked = list(batch.requests.order_by("-id")[: MOST + 1])
    events = [Event(at=entry.at, text=str(redacted(entry.text))) for entry in entries]
    events += [_event(request) for request in asked]
    events.sort(key=lambda event: event.at)
    return events[-MOST:], len(events) > MOST


def _event(request: OperatorRequest) -> Event:
    answer = request.result or "not answered yet"
    text = f"{request.get_action_display()} asked" + (f": {request.why}" if request.why else "")
    return Event(at=request.asked, text=text, by=request.by, note=answer)


def launched_by(batch: Batch) -> str:
    """Who launched it, in words: the account, or what the journal says of a program without one."""
    if batch.created_by is not None:
        return batch.created_by.get_username()
    return launchers([batch.pk]).get(batch.pk, "")
