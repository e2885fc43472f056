"""Past runs: found by id, key, label, outcome or date, and why each ended as it did."""

from collections import Counter
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from coordination.admin.scoped import BOUND, NOTHING, ReadOnly, moment, preformatted, table, time_of
from coordination.journal.attention import needs_attention
from coordination.journal.numbers import in_words
from coordination.journal.recorded import recorded
from coordination.models import Batch, Customer, OperatorRequest
from coordination.protocol.states import BATCH_ENDED, CONTRADICTED, LOOKS, BatchState, BranchState
from coordination.redact import redacted, shown
from coordination.templatetags.moments import thousands, took
from coordination.web.words import BATCH_LOOKS


class OutcomeFilter(admin.SimpleListFilter):
    """By outcome; what has none yet is "not ended"."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The outcomes, and "not ended"."""
        ended = [(state.value, BATCH_LOOKS[state].word) for state in BatchState if state in BATCH_ENDED]
        return [*ended, ("open", "Not ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the chosen outcome."""
        if self.value() == "open":
            return queryset.exclude(state__in=BATCH_ENDED)
        return queryset.filter(state=self.value()) if self.value() else queryset


class AttentionFilter(admin.SimpleListFilter):
    """Those that a person should look at."""

    title = "needs attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Yes, or all."""
        return [("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the page of what needs attention."""
        return queryset.filter(needs_attention()) if self.value() == "yes" else queryset


TIMES = ("created_at", "started", "decided_at", "ended_at", "duration", "not_after", "deadline_at")


@admin.register(Batch)
class BatchAdmin(ReadOnly):
    """Batches, newest first."""

    list_display = (
        "short_id",
        "label",
        "customer",
        "outcome",
        "how_many",
        "failed",
        "started",
        "duration",
        "who",
        "live",
    )
    list_filter = (
        OutcomeFilter,
        AttentionFilter,
        ("plan", admin.AllValuesFieldListFilter),
        ("customer", admin.RelatedOnlyFieldListFilter),
        ("created_by", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("customer", "created_by")
    date_hierarchy = "created"
    id_field = "id"
    search_fields = ("label", "key", "^customer__slug")
    search_help_text = "By id or its beginning, label, key, or customer."
    fieldsets = (
        (None, {"fields": ("id", "label", "customer", "plan", "key", "outcome", "why", "who", "promise", "live")}),
        ("Tasks", {"fields": ("how_many", "by_state", "branches")}),
        ("Times", {"fields": TIMES}),
        ("Parameters", {"fields": ("parameters", "after_commit", "after_rollback", "relaunch_of")}),
        ("What happened", {"fields": ("went_through", "against", "journal", "asked")}),
    )

    started = time_of("dispatched", "started")
    created_at = time_of("created", "launched")
    decided_at = time_of("decided")
    ended_at = time_of("ended")
    not_after = time_of("start_by", "not started after")
    deadline_at = time_of("deadline")

    def scope(self, rows: QuerySet[Any], user: Any) -> QuerySet[Any]:
        """Of the customers of ``user``."""
        return rows.filter(customer__in=Customer.objects.for_user(user))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what every page of it shows."""
        return super().get_queryset(request).select_related("customer", "created_by", "relaunch_of")

    @admin.display(description="id", ordering="id")
    def short_id(self, batch: Batch) -> str:
        """The beginning of its id."""
        return str(batch.pk)[:8]

    @admin.display(description="outcome", ordering="state")
    def outcome(self, batch: Batch) -> str:
        """Mark and word of its state."""
        look = BATCH_LOOKS[BatchState(batch.state)]
        return f"{look.mark} {look.word}"

    @admin.display(description="tasks", ordering="tasks")
    def how_many(self, batch: Batch) -> str:
        """How many tasks it has."""
        return thousands(batch.tasks)

    @admin.display(description="failed")
    def failed(self, batch: Batch) -> str:
        """How many of its tasks failed."""
        return thousands(int(batch.counts.get(BranchState.FAILED.value, 0)))

    @admin.display(description="duration")
    def duration(self, batch: Batch) -> str:
        """From its launch to its end, or until now."""
        text = took((batch.ended or timezone.now()) - batch.created)
        return text if batch.ended else f"{text} so far"

    @admin.display(description="who", ordering="created_by")
    def who(self, batch: Batch) -> str:
        """Who launched it."""
        return str(batch.created_by or NOTHING)

    @admin.display(description="open")
    def live(self, batch: Batch) -> SafeString | str:
        """The way to its live page, if the project has our pages."""
        try:
            address = reverse("coordination:batch", args=[batch.customer.slug, batch.pk])
        except NoReverseMatch:
            return NOTHING
        return format_html('<a href="{}">open ↗</a>', address)

    @admin.display(description="why")
    def why(self, batch: Batch) -> str:
        """The reason of its decision, or what it waits for."""
        return str(redacted(batch.reason or batch.waiting_for)) or NOTHING

    @admin.display(description="guarantee")
    def promise(self, batch: Batch) -> str:
        """Its guarantee in words."""
        return batch.get_guarantee_display()

    @admin.display(description="tasks by state")
    def by_state(self, batch: Batch) -> str:
        """How many tasks are in each state that has any."""
        named = {str(state): count for state, count in batch.counts.items() if count}
        return ", ".join(f"{count:,} {state.replace('_', ' ').lower()}" for state, count in named.items()) or NOTHING

    @admin.display(description="list of tasks")
    def branches(self, batch: Batch) -> SafeString:
        """The way to its tasks."""
        address = reverse(f"{self.admin_site.name}:coordination_branch_changelist")
        one = f"{address}?batch__id__exact={batch.pk}"
        failed = f"{one}&state={BranchState.FAILED.value}"
        return format_html('<a href="{}">All tasks</a> · <a href="{}">failed tasks</a>', one, failed)

    @admin.display(description="parameters")
    def parameters(self, batch: Batch) -> SafeString | str:
        """What it was launched with."""
        return preformatted(shown(batch.params))

    @admin.display(description="after it has committed")
    def after_commit(self, batch: Batch) -> SafeString | str:
        """The Celery signature sent then."""
        return preformatted(shown(batch.on_committed))

    @admin.display(description="after it was rolled back")
    def after_rollback(self, batch: Batch) -> SafeString | str:
        """The Celery signature sent then."""
        return preformatted(shown(batch.on_rolled_back))

    @admin.display(description=f"journal (last {BOUND})")
    def journal(self, batch: Batch) -> SafeString | str:
        """What happened, oldest first."""
        last = list(batch.entries.order_by("-id").values_list("at", "text")[:BOUND])
        return table(("At", "What"), [(moment(at), text) for at, text in reversed(last)])

    @admin.display(description="went through")
    def went_through(self, batch: Batch) -> SafeString | str:
        """Takeovers, redeliveries, and how long it was in doubt, in seconds."""
        said = recorded(batch).fields().items()
        rows = [(name.replace("_", " "), value) for name, value in said if value is not None]
        return table(("What", "How much"), rows)

    @admin.display(description=f"tasks that did not end as decided (first {BOUND})")
    def against(self, batch: Batch) -> SafeString | str:
        """Named, with how that is known."""
        wrong = batch.branches.filter(state__in=CONTRADICTED).order_by("number")[:BOUND]
        rows = [(one.number, one.name, one.database, LOOKS[BranchState(one.state)].word, one.how) for one in wrong]
        return table(("No.", "Task", "Database", "State", "How it is known"), rows)

    @admin.display(description=f"requests (last {BOUND})")
    def asked(self, batch: Batch) -> SafeString | str:
        """What people asked of it, oldest first, and what came of it."""
        last = list(batch.requests.order_by("-id")[:BOUND])
        rows = [
            (moment(one.asked), _what(one), one.by, one.why, one.result, _said(one.before), _said(one.after))
            for one in reversed(last)
        ]
        return table(("Asked", "What", "Who", "Why", "What came of it", "Before", "After"), rows)


def _what(one: OperatorRequest) -> str:
    """The request, and of which tasks what is declared."""
    asked = one.get_action_display()
    return f"{asked} {one.get_fate_display()}: tasks {in_words(one.tasks, BOUND)}" if one.tasks else asked


def _said(standing: dict[str, Any] | None) -> str:
    """How things stood, in words."""
    if not standing:
        return NOTHING
    tasks = Counter(standing.get("tasks", {}).values())
    counted = ", ".join(f"{count} {state.replace('_', ' ').lower()}" for state, count in tasks.items())
    return str(standing["state"]) + (f" (tasks: {counted})" if counted else "")
