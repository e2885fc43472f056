"""Nodes and what they went through: they belong to no customer, so superusers alone see them."""

from typing import Any

from django.contrib import admin
from django.db.models import F, Max, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest

from coordination.admin.scoped import ReadOnly, time_of
from coordination.models import Batch, Node


@admin.register(Node)
class NodeAdmin(ReadOnly):
    """Nodes that are heard of, or went silent within a day; one that stops in an orderly way is forgotten."""

    list_display = ("name", "started_at", "heard", "batches", "takeovers", "longest_recovery")
    ordering = ("-heartbeat",)
    search_fields = ("name",)
    fields = ("name", "started_at", "heard", "batches", "takeovers", "longest_recovery")

    started_at = time_of("started")
    heard = time_of("heartbeat", "last heard of")

    def scope(self, rows: QuerySet[Any], user: Any) -> QuerySet[Any]:
        """All for a superuser, with what the batches say that each had last."""
        had = Batch.objects.filter(node=OuterRef("pk"), epoch__gt=1).order_by().values("node")
        rows = rows.annotate(
            taken=Subquery(had.annotate(n=Sum(F("epoch") - 1)).values("n")),
            longest=Subquery(had.annotate(n=Max("recovery_seconds")).values("n")),
        )
        return rows if user.is_superuser else rows.none()

    @admin.display(description="takeovers of batches it had last")
    def takeovers(self, node: Any) -> int:
        """How often those changed hands."""
        return int(node.taken or 0)

    @admin.display(description="longest without a manager (s)")
    def longest_recovery(self, node: Any) -> str:
        """Of those, the one that had no living manager for longest."""
        return f"{node.longest or 0:.1f}"

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return bool(request.user.is_active and request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers."""
        return bool(request.user.is_active and request.user.is_superuser)
