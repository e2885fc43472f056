"""What all our admins have in common: who may look, at what, and that looking is all.

Staff need no permissions granted one by one: whoever is staff and a member of a customer may look at that customer's
rows. What is not theirs is not in the queryset, so Django answers as it does for what does not exist.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from coordination.journal.past import ids_like
from coordination.models import Customer
from coordination.redact import redacted

BOUND = 100
"""Rows at most of a page of a list, and of a list within a page."""

NOTHING = "–"

COUNTED = 20_000
"""Rows a list counts at most, and so pages through: as many as a batch may have tasks. Beyond that it is filtered."""


def may_look(request: HttpRequest) -> bool:
    """Whether the request's user is staff and has any customer to look at; asks the database once a request."""
    known: bool | None = getattr(request, "_coordination_may_look", None)
    if known is None:
        user = request.user
        member = bool(user.is_active and user.is_staff) and (
            bool(user.is_superuser) or Customer.objects.for_user(user).exists()
        )
        request._coordination_may_look = known = member  # type: ignore[attr-defined]
    return known


class CountsSoMany(Paginator):
    """Pages of a list whose rows nobody counts to the last one: that would read the whole table."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, at most COUNTED."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:COUNTED].count()


def moment(at: datetime | None) -> str:
    """A time to the second, which is what runs are told apart by; a dash for none."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}" if at else NOTHING


def time_of(field: str, description: str = "") -> Callable[[Any, Any], str]:
    """A column or field that shows the time in ``field`` to the second."""

    @admin.display(description=description or field.replace("_", " "), ordering=field)
    def shown(model_admin: Any, row: Any) -> str:
        return moment(getattr(row, field))

    return shown


class ReadOnly(admin.ModelAdmin):
    """Nothing is added, changed or deleted; members look. ``scope`` says which rows are theirs."""

    list_per_page = BOUND
    list_max_show_all = BOUND
    paginator = CountsSoMany
    show_full_result_count = False
    actions = None
    id_field = ""
    """The field with an id that a search may name, or the beginning of it."""
    sentences: tuple[str, ...] = ()
    """Fields with words of servers and drivers, which may name addresses: one row's page hides passwords in them."""

    class Media:
        css = {"all": ("coordination/admin.css",)}

    def scope(self, rows: QuerySet[Any], user: Any) -> QuerySet[Any]:
        """Those of ``rows`` that ``user`` may see."""
        raise NotImplementedError

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The rows of the viewer's customers."""
        return self.scope(super().get_queryset(request), request.user)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model | None:
        """The row of a page. What is hidden is hidden here, for its words are in the page's title as well."""
        found: Model | None = super().get_object(request, object_id, from_field)
        for name in self.sentences if found is not None else ():
            setattr(found, name, redacted(getattr(found, name)))
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Also those whose id begins as the words searched for, by the index of the ids."""
        found, doubled = super().get_search_results(request, queryset, search_term)
        ids = ids_like(search_term) if self.id_field else None
        if ids is None:
            return found, doubled
        by_id = queryset.filter(**{f"{self.id_field}__range": ids})
        return (by_id if ids[0] == ids[1] else found | by_id), doubled

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """All that are shown: some are methods, which Django shows only as read-only."""
        return flatten_fieldsets(self.get_fieldsets(request, obj))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whoever may look."""
        return may_look(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whoever may look; at what, the queryset says."""
        return may_look(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> SafeString | str:
    """A plain table of ``rows``, escaped, without passwords in addresses; a dash for none."""
    if not rows:
        return NOTHING
    titles = format_html_join("", '<th scope="col">{}</th>', ((title,) for title in head))
    cells = [(format_html_join("", "<td>{}</td>", ((_hidden(cell),) for cell in row)),) for row in rows]
    body = format_html_join("", "<tr>{}</tr>", cells)
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", titles, body)


def preformatted(text: str) -> SafeString | str:
    """``text`` with its lines as they are, escaped, without passwords in addresses; a dash for none."""
    return format_html("<pre>{}</pre>", redacted(text)) if text else NOTHING


def _hidden(cell: Any) -> Any:
    """Without passwords in addresses, unless it is markup, whose maker has seen to it."""
    return cell if isinstance(cell, SafeString) else redacted(cell)
