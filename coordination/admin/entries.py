"""The journal's sentences."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet

from coordination.admin.scoped import ReadOnly, time_of
from coordination.models import Batch, JournalEntry
from coordination.redact import redacted


@admin.register(JournalEntry)
class JournalEntryAdmin(ReadOnly):
    """The journal, newest first."""

    list_display = ("when", "batch", "sentence")
    list_select_related = ("batch",)
    ordering = ("-id",)
    id_field = "batch"
    sentences = ("text",)
    search_fields = ("text",)
    search_help_text = "By the batch's id or its beginning, or words of the sentence."
    fields = readonly_fields = ("when", "batch", "seq", "text")

    when = time_of("at", "at")

    @admin.display(description="text")
    def sentence(self, entry: JournalEntry) -> str:
        """Its text, without passwords in addresses."""
        return str(redacted(entry.text))

    def scope(self, rows: QuerySet[Any], user: Any) -> QuerySet[Any]:
        """About batches of the customers of ``user``."""
        return rows if user.is_superuser else rows.filter(batch__in=Batch.objects.for_user(user))
