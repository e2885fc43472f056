"""Celery's results: how task runs ended, read-only; staff see those of their customers' tasks.

Nothing of ours depends on them. django-celery-results registers its own admins when its module is imported, which
may be before ours or after; so it is imported here, and what it registered is replaced.
"""

from typing import Any

from django.contrib import admin
from django.db.models import Case, QuerySet, UUIDField, When
from django.db.models.functions import Cast
from django.http import HttpRequest
from django_celery_results.admin import GroupResultAdmin, TaskResultAdmin
from django_celery_results.models import GroupResult, TaskResult

from coordination.admin.scoped import ReadOnly
from coordination.models import Batch, Branch

# Other tasks of the project may have ids of any form; only those of this form can be a branch's, and can be cast.
UUID = r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"


class ScopedTaskResultAdmin(ReadOnly, TaskResultAdmin):
    """Results of task runs. Never a batch's outcome: that is the journal's."""

    list_display = ("task_id", "task_name", "date_done", "status", "worker")
    list_filter = ("status", "date_done", "task_name", "worker")
    search_fields = ("task_name", "task_id")
    sentences = ("result", "traceback")
    fieldsets = (
        (None, {"fields": ("task_id", "task_name", "status", "worker", "date_created", "date_started", "date_done")}),
        # Not the arguments: nothing tells which part of that text is a secret. The task's own page has them.
        ("How the task run ended, never the outcome of its batch", {"fields": ("result", "traceback")}),
    )

    def scope(self, rows: QuerySet[Any], user: Any) -> QuerySet[Any]:
        """Of tasks of batches of the customers of ``user``; all for a superuser."""
        if user.is_superuser:
            return rows
        theirs = Branch.objects.filter(batch__in=Batch.objects.for_user(user))
        branch = Case(When(task_id__regex=UUID, then=Cast("task_id", UUIDField())), output_field=UUIDField())
        return rows.alias(branch=branch).filter(branch__in=theirs.order_by().values("pk"))


class SuperusersGroupResultAdmin(ReadOnly, GroupResultAdmin):
    """Results of Celery groups: they belong to no customer, so superusers alone see them."""

    fields = ("group_id", "date_created", "date_done", "result")

    def scope(self, rows: QuerySet[Any], user: Any) -> QuerySet[Any]:
        """All for a superuser."""
        return rows if user.is_superuser else rows.none()

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return bool(request.user.is_active and request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers."""
        return bool(request.user.is_active and request.user.is_superuser)


admin.site.unregister([TaskResult, GroupResult])
admin.site.register(TaskResult, ScopedTaskResultAdmin)
admin.site.register(GroupResult, SuperusersGroupResultAdmin)
