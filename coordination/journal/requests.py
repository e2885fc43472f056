"""What people ask of a batch: one OperatorRequest row each, which is also the audit row.

The manager that owns the batch carries a request out and marks it handled in the same transaction, with how things
stood before and after. A batch that has ended has no manager any more: its request is answered here, at once.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, transaction
from django.utils import timezone

from coordination.errors import NotDecided, NothingUnfinished, NotMixed, RequestKeyReused, UnknownBatch
from coordination.journal.numbers import counted
from coordination.models import Batch, Branch, OperatorRequest
from coordination.protocol.messages import MAX_REASON, cut
from coordination.protocol.states import BatchState, BranchState, Declared

Action = OperatorRequest.Action
MAX_BY = 200
NOTHING_TO_ASK = "There is nothing to ask for: the batch had already ended {state}"
TOO_LATE = "Too late: the batch had already ended {state}"


def ask(
    batch: uuid.UUID,
    action: OperatorRequest.Action,
    *,
    by: str,
    who: object = None,
    why: str = "",
    fate: str = "",
    tasks: Sequence[int] = (),
    key: str | None = None,
) -> OperatorRequest:
    """Record that ``by`` (in words; ``who`` is the account, if there is one) asks ``action`` of ``batch``.

    The request comes back handled, with its result, if the batch has ended; and as it was first recorded, if it has
    been sent before with the same ``key``. Whoever calls this has checked that they may ask, and wakes the nodes.
    Raises UnknownBatch; RequestKeyReused if what was sent with that key is another request; NotMixed for SETTLE of a
    batch that did not end mixed.
    """
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        # The lock orders this against the write that ends the batch: either we see the end here, or that batch's
        # manager sees the request.
        found = Batch.objects.using(DEFAULT_DB_ALIAS).select_for_update(no_key=True).filter(pk=batch).first()
        if found is None:
            raise UnknownBatch(id=str(batch))
        if key and (before := found.requests.filter(key=key).first()):
            if (before.action, before.fate, list(before.tasks)) != (action, fate, list(tasks)):
                raise RequestKeyReused(batch=str(batch), before=_told(before))
            return before
        if action is Action.SETTLE and found.state != BatchState.MIXED:
            raise NotMixed(batch=str(batch), state=found.state)
        request = OperatorRequest(
            batch=found,
            action=action,
            by=cut(by, MAX_BY),
            who_id=getattr(who, "pk", None),
            why=cut(why, MAX_REASON),
            fate=fate,
            tasks=list(tasks),
            key=key,
        )
        if found.has_ended:
            request.handled = timezone.now()
            request.result = _answer(action, found.state)
            request.before = request.after = _standing(found, tasks)
        request.save(using=DEFAULT_DB_ALIAS, force_insert=True)
    return request


def cancel(batch: uuid.UUID, *, by: str, who: object = None, why: str = "") -> OperatorRequest:
    """Ask that ``batch`` be rolled back, unless it is decided by then. See :func:`ask`."""
    return ask(batch, Action.CANCEL, by=by, who=who, why=why)


def retry(batch: uuid.UUID, *, by: str, who: object = None, why: str = "") -> OperatorRequest:
    """Ask that what is decided and not finished be said again now. See :func:`ask`. Raises NotDecided."""
    _must_be_decided(batch)
    return ask(batch, Action.RETRY, by=by, who=who, why=why)


def settle(batch: uuid.UUID, *, by: str, who: object = None, why: str, key: str | None = None) -> OperatorRequest:
    """Record that a person has put right what a mixed batch left: it needs no attention any more. See :func:`ask`."""
    return ask(batch, Action.SETTLE, by=by, who=who, why=why, key=key)


def declare(
    batch: uuid.UUID,
    fate: Declared,
    tasks: Iterable[int],
    *,
    by: str,
    who: object = None,
    why: str,
    key: str | None = None,
) -> OperatorRequest:
    """Ask that ``tasks`` count as ended so, for a database that is gone for good. See :func:`ask`.

    Raises NotDecided, and NothingUnfinished if one of ``tasks`` is not waiting for its database.
    """
    _must_be_decided(batch)
    numbers = sorted(set(tasks))
    ended = Batch.objects.using(DEFAULT_DB_ALIAS).filter(pk=batch, ended__isnull=False).exists()
    repeated = key and OperatorRequest.objects.using(DEFAULT_DB_ALIAS).filter(batch=batch, key=key).exists()
    if not ended and not repeated:
        waiting = {branch.number for branch in unfinished(batch)}
        wrong = [str(number) for number in numbers if number not in waiting]
        if wrong or not numbers:
            raise NothingUnfinished(tasks=wrong[:10] or ["none named"])
    return ask(batch, Action.DECLARE, by=by, who=who, why=why, fate=fate.value, tasks=numbers, key=key)


def unfinished(batch: uuid.UUID) -> list[Branch]:
    """The tasks of a decided batch of which no database has said yet how they ended, by number.

    Without their arguments and what they said, which may be large, and there may be thousands.
    """
    waiting = Branch.objects.using(DEFAULT_DB_ALIAS).filter(batch=batch, state=BranchState.PREPARED)
    return list(waiting.filter(batch__decision__isnull=False).defer("args", "evidence", "error").order_by("number"))


def _must_be_decided(batch: uuid.UUID) -> None:
    found = Batch.objects.using(DEFAULT_DB_ALIAS).filter(pk=batch).values("decision").first()
    if found is None:
        raise UnknownBatch(id=str(batch))
    if found["decision"] is None:
        raise NotDecided(batch=str(batch))


def _told(request: OperatorRequest) -> str:
    """What it asks, and who asked: "Declare asked by ana, lost: task 3"."""
    return f"{request}, {request.fate}: {counted(request.tasks)}" if request.tasks else str(request)


def _answer(action: OperatorRequest.Action, state: str) -> str:
    if action is Action.SETTLE:
        return "Noted: put right"
    return (NOTHING_TO_ASK if action is Action.RETRY else TOO_LATE).format(state=state)


def _standing(batch: Batch, tasks: Sequence[int]) -> dict[str, Any]:
    """How an ended batch and those of its tasks stand, as the audit row keeps it."""
    said: dict[str, Any] = {"state": batch.state, "decision": batch.decision}
    if tasks:
        rows = batch.branches.filter(number__in=tasks).order_by("number").values_list("number", "state")
        said["tasks"] = {str(number): state for number, state in rows}
    return said
