"""How somebody looks at a batch: all of it is in the page's address, so that any view can be sent to a colleague."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse

from coordination.protocol.states import BranchState

TABS = {"grid": "Grid", "table": "Table", "errors": "Errors", "timeline": "Timeline", "journal": "Journal"}
"""The tabs by their name in addresses, in their order; the first is shown when none is asked for."""

SORTS = ("number", "name", "database", "state", "started", "took")
"""What the table can be sorted by; with a ``-`` before it the other way round."""

MAX_SEARCH = 200
LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class View:
    """What an address asks for. What it says wrongly counts as not said."""

    tab: str = "grid"
    state: BranchState | None = None
    search: str = ""
    sort: str = "number"
    page: str = ""
    order: str = "number"
    task: int | None = None

    @property
    def state_name(self) -> str:
        """The state as addresses say it."""
        return self.state.value.lower() if self.state else ""


def address_of(slug: str, batch: UUID) -> str:
    """The address of the batch's page."""
    return reverse("coordination:batch", kwargs={"slug": slug, "batch": batch})


def view_of(query: Mapping[str, str]) -> View:
    """The view that a page's parameters ask for."""
    tab, state, sort = query.get("tab", ""), query.get("state", "").upper(), query.get("sort", "")
    return View(
        tab=tab if tab in TABS else "grid",
        state=BranchState(state) if state in BranchState.__members__ else None,
        search=query.get("q", "").replace("\x00", "").strip()[:MAX_SEARCH],
        sort=sort if sort.removeprefix("-") in SORTS else "number",
        page=query.get("page", ""),
        order="failed" if query.get("order") == "failed" else "number",
        task=number_of(query.get("task", "")),
    )


def number_of(text: str) -> int | None:
    """``text`` as a task's number; None if it cannot be one."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if 1 <= int(text) <= LARGEST_NUMBER else None
