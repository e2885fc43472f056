"""What a batch went through, from what its journal holds: takeovers, redeliveries, and how long it was in doubt."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Max, Min
from django.db.models.functions import Coalesce, Now

from coordination.models import Attempt, Batch, Branch
from coordination.protocol.states import Kind


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Times in seconds; None where nothing was prepared.

    ``recovery_seconds`` is how long it had no living manager, over all takeovers. ``in_doubt_seconds`` is from the
    first task prepared to the last one finished, ``longest_in_doubt_seconds`` the longest that one task was prepared;
    both until now while it goes on. ``redeliveries`` are executions beyond the first of a task.
    """

    takeovers: int
    recovery_seconds: float
    redeliveries: int
    in_doubt_seconds: float | None
    longest_in_doubt_seconds: float | None

    def fields(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing but the ordinary happened."""
        return not self.takeovers and not self.redeliveries


def recorded(batch: Batch) -> Recorded:
    """What ``batch`` went through, as of now."""
    promised = Branch.objects.filter(batch=batch, prepared__isnull=False).exclude(kind=Kind.READ_ONLY)
    over = Coalesce("finished", Now())
    doubt = promised.order_by().aggregate(first=Min("prepared"), last=Max(over), longest=Max(over - F("prepared")))
    runs = Attempt.objects.filter(branch__batch=batch).order_by()
    counted = runs.aggregate(attempts=Count("pk"), branches=Count("branch", distinct=True))
    return Recorded(
        takeovers=max(batch.epoch - 1, 0),
        recovery_seconds=round(batch.recovery_seconds, 3),
        redeliveries=counted["attempts"] - counted["branches"],
        in_doubt_seconds=_between(doubt["first"], doubt["last"]),
        longest_in_doubt_seconds=_seconds(doubt["longest"]),
    )


def _between(first: datetime | None, last: datetime | None) -> float | None:
    return _seconds(last - first) if first is not None and last is not None else None


def _seconds(length: timedelta | None) -> float | None:
    return round(max(length.total_seconds(), 0.0), 3) if length is not None else None
