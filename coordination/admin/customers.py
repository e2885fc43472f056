"""Customers, their members and databases: superusers change them, staff look at their own."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from coordination.admin.scoped import may_look
from coordination.models import Customer, CustomerDatabase, Membership


class _SuperusersChange:
    """Members look, superusers change."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_look(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_look(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)


def _is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_active and request.user.is_superuser)


class MembershipInline(_SuperusersChange, admin.TabularInline):
    """Who belongs to the customer."""

    model = Membership
    extra = 0
    raw_id_fields = ("user",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what each row shows."""
        return super().get_queryset(request).select_related("user", "customer")


class DatabaseInline(_SuperusersChange, admin.TabularInline):
    """What the customer's plans may write to."""

    model = CustomerDatabase
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what each row shows."""
        return super().get_queryset(request).select_related("customer")


@admin.register(Customer)
class CustomerAdmin(_SuperusersChange, admin.ModelAdmin):
    """Customers with their limits."""

    list_display = ("name", "slug", "queue", "max_running_batches", "guarantee_floor")
    search_fields = ("name", "slug")
    inlines = (MembershipInline, DatabaseInline)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The viewer's customers."""
        return Customer.objects.for_user(request.user).order_by("name")
