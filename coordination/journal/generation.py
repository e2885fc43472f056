"""The journal's generation: a number that only grows, and that the databases of tasks keep a copy of.

A journal restored from a backup takes batches for open that were committed long ago, and votes for unknown ones. It
also has an older generation than its databases: while that is so, no node works with it, until a person releases it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils import timezone

from coordination.errors import JournalNotBehind
from coordination.models import Batch, Installation, JournalRelease, OperatorRequest
from coordination.protocol.messages import MAX_REASON, cut

from .requests import MAX_BY

RAISE_SECONDS = 10.0
"""While nodes manage batches, the generation grows so often: a backup that is older by that much is noticed."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The journal's generation, and the highest one that one of its databases was found to have."""

    generation: int
    needed: int

    @property
    def behind(self) -> bool:
        """The journal is older than its databases, and nobody has released it."""
        return self.generation < self.needed


def standing() -> Standing:
    """What the journal says of itself."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT generation, needed FROM coordination_installation")
        generation, needed = cursor.fetchone()
        return Standing(generation=generation, needed=needed)


def raise_generation(every: float) -> int | None:
    """Raise the generation, if it is not behind and was not raised for ``every`` seconds; the new one, or None."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "UPDATE coordination_installation SET generation = generation + 1, raised = clock_timestamp()"
            " WHERE generation >= needed"
            " AND (raised IS NULL OR raised <= clock_timestamp() - make_interval(secs => %s)) RETURNING generation",
            [every],
        )
        row = cursor.fetchone()
        return row[0] if row else None


def found_later(generation: int) -> None:
    """Somebody has seen ``generation``: if the journal's is older, it is behind from now on, for all nodes."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "UPDATE coordination_installation SET needed = %s, behind_since = COALESCE(behind_since, clock_timestamp())"
            " WHERE generation < %s AND needed < %s",
            [generation, generation, generation],
        )


def in_question() -> Mapping[str, Batch]:
    """Batches of before the journal was found behind that it has no decision of, by id, oldest first.

    What became of them in the time that the journal has lost, it cannot tell.
    """
    row = Installation.objects.using(DEFAULT_DB_ALIAS).get()
    found = Batch.objects.using(DEFAULT_DB_ALIAS).filter(
        ended=None, decision=None, created__lte=row.behind_since or timezone.now()
    )
    return {str(batch.pk): batch for batch in found.select_related("customer").order_by("created")}


def release(*, by: str, why: str, seen: int) -> JournalRelease:
    """Let nodes work with the journal again: its generation becomes higher than any that a database has.

    ``seen`` is the highest that the caller has just found in a database. All of :func:`in_question` are asked to roll
    back in the same transaction, so that no node runs a task of theirs a second time. Raises JournalNotBehind.
    """
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        row = Installation.objects.using(DEFAULT_DB_ALIAS).select_for_update().get()
        needed = max(row.needed, seen)
        if row.generation >= needed:
            raise JournalNotBehind(generation=row.generation)
        batches = in_question().values()
        asked = f"The journal was restored from a backup, and does not know what became of this batch. {why}"
        OperatorRequest.objects.using(DEFAULT_DB_ALIAS).bulk_create(
            OperatorRequest(
                batch=batch, action=OperatorRequest.Action.CANCEL, by=cut(by, MAX_BY), why=cut(asked, MAX_REASON)
            )
            for batch in batches
        )
        made = JournalRelease.objects.using(DEFAULT_DB_ALIAS).create(
            by=cut(by, MAX_BY), why=cut(why, MAX_REASON), before=row.generation, after=needed + 1,
            rolled_back=len(batches),
        )  # fmt: skip
        row.generation, row.needed, row.behind_since = needed + 1, 0, None
        row.save(using=DEFAULT_DB_ALIAS)
    return made
