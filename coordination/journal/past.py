"""Past batches: found by what people remember of them, and who launched them."""

import re
from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q

from coordination.models import BatchQuerySet, JournalEntry

_LAUNCHED = re.compile(r"Launched by (?P<who>.+): plan ", re.DOTALL)


def ids_like(term: str) -> tuple[UUID, UUID] | None:
    """The first and last id that begin as ``term`` says, which has at least four hex digits; None for other words."""
    digits = term.strip().replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", digits):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def matching(batches: BatchQuerySet, words: str) -> BatchQuerySet:
    """Those of ``batches`` whose label or idempotency key contains ``words``, or whose id begins so."""
    found = Q(label__icontains=words) | Q(key__icontains=words)
    ids = ids_like(words)
    return batches.filter(found | Q(pk__range=ids) if ids else found)


def launchers(batches: Iterable[UUID]) -> dict[UUID, str]:
    """Who launched each of ``batches``, in the words of its first journal entry."""
    first = JournalEntry.objects.filter(batch__in=list(batches)).order_by("batch", "id").distinct("batch")
    said = {batch: _LAUNCHED.match(text) for batch, text in first.values_list("batch", "text")}
    return {batch: match["who"] for batch, match in said.items() if match}
