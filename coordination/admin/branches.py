"""A batch's tasks: the state of each, its error, and how its runs went."""

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from coordination.admin.scoped import BOUND, NOTHING, ReadOnly, ids_like, moment, preformatted, table, time_of
from coordination.models import Batch, Branch
from coordination.protocol.states import LOOKS, BranchState
from coordination.redact import redacted, shown


class StateFilter(admin.SimpleListFilter):
    """By state, in the words that people know."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All states."""
        return [(state.value, f"{look.mark} {look.word}") for state, look in LOOKS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those in the chosen state."""
        return queryset.filter(state=self.value()) if self.value() else queryset


@admin.register(Branch)
class BranchAdmin(ReadOnly):
    """Tasks, reached from their batch."""

    list_display = ("number", "name", "database", "outcome", "short_error", "started_at", "finished_at")
    list_display_links = ("number", "name")
    list_filter = (StateFilter,)
    id_field = "id"
    sentences = ("how",)
    search_fields = ("name",)
    search_help_text = "By Celery task id or its beginning, or name."
    fieldsets = (
        (None, {"fields": ("id", "batch", "number", "name", "task", "database", "outcome", "how", "celery_result")}),
        ("Error", {"fields": ("error_text",)}),
        ("Times", {"fields": ("started_at", "prepared_at", "finished_at")}),
        ("Promise", {"fields": ("kind", "gid", "round", "process", "proof", "evidence_text")}),
        ("Runs", {"fields": ("arguments", "runs")}),
    )

    started_at = time_of("started")
    prepared_at = time_of("prepared")
    finished_at = time_of("finished")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Not among what can be looked through as a whole: there may be millions of them."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The tasks of one batch, or the one task with an id; otherwise the way to the batches."""
        of_one = any(request.GET.get(name) for name in ("batch__id__exact", "batch"))
        if of_one or ids_like(request.GET.get("q", "")):
            return super().changelist_view(request, extra_context)
        if not self.has_view_permission(request):
            raise PermissionDenied
        messages.info(request, "Tasks are listed by batch: open one, then its list of tasks.")
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:coordination_batch_changelist"))

    def scope(self, rows: QuerySet[Any], user: Any) -> QuerySet[Any]:
        """Of the customers of ``user``."""
        return rows if user.is_superuser else rows.filter(batch__in=Batch.objects.for_user(user))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the batch."""
        return super().get_queryset(request).select_related("batch")

    @admin.display(description="state", ordering="state")
    def outcome(self, branch: Branch) -> str:
        """Mark and word of its state."""
        look = LOOKS[BranchState(branch.state)]
        return f"{look.mark} {look.word}"

    @admin.display(description="error")
    def short_error(self, branch: Branch) -> str:
        """The beginning of its error."""
        return Truncator(redacted(_error(branch.error).partition("\n")[0])).chars(200) or NOTHING

    @admin.display(description="error")
    def error_text(self, branch: Branch) -> SafeString | str:
        """All of its error, with the traceback."""
        return preformatted(_error(branch.error))

    @admin.display(description="evidence")
    def evidence_text(self, branch: Branch) -> SafeString | str:
        """What its end is known by."""
        return preformatted(shown(branch.evidence))

    @admin.display(description="arguments")
    def arguments(self, branch: Branch) -> SafeString | str:
        """What the task is called with."""
        return preformatted(shown(branch.args))

    @admin.display(description=f"attempts (last {BOUND})")
    def runs(self, branch: Branch) -> SafeString | str:
        """Its attempts, oldest first."""
        last = list(branch.attempts.order_by("-started", "-id")[:BOUND])
        rows = [
            (
                moment(one.started),
                moment(one.ended),
                one.process,
                one.get_vote_display() or NOTHING,
                preformatted(_error(one.error)),
            )
            for one in reversed(last)
        ]
        return table(("Started", "Ended", "Process", "Vote", "Error"), rows)

    @admin.display(description="Celery result")
    def celery_result(self, branch: Branch) -> SafeString | str:
        """The way to what Celery kept of the task's run."""
        if not apps.is_installed("django_celery_results"):
            return "Results are not kept: django-celery-results is not installed."
        results = apps.get_model("django_celery_results", "TaskResult")._default_manager
        found = results.filter(task_id=str(branch.pk)).values_list("pk", "status").first()
        if found is None:
            return "None kept."
        address = reverse(f"{self.admin_site.name}:django_celery_results_taskresult_change", args=[found[0]])
        return format_html(
            '<a href="{}">{}</a> – how the task run ended, never the outcome of the task or the batch',
            address,
            found[1],
        )


def _error(error: Any) -> str:
    """Type and message on the first line, then the traceback and whatever else was kept."""
    if not isinstance(error, dict):
        return str(error or "")
    rest = dict(error)
    first = ": ".join(str(rest.pop(name)) for name in ("type", "message") if rest.get(name))
    traceback = str(rest.pop("traceback", "") or "")
    return "\n\n".join(part for part in (first, traceback, shown(rest)) if part)
