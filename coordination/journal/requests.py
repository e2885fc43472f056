"""What people ask of a batch: one OperatorRequest row each, which is also the audit row.

The manager that owns the batch carries a request out and marks it handled in the same transaction. A batch that has
ended has no manager any more: its request is answered here, at once.
"""

import uuid

from django.db import DEFAULT_DB_ALIAS, transaction
from django.utils import timezone

from coordination.errors import UnknownBatch
from coordination.models import Batch, OperatorRequest
from coordination.protocol.messages import MAX_REASON, cut

MAX_BY = 200


def ask(
    batch: uuid.UUID, action: OperatorRequest.Action, *, by: str, who: object = None, why: str = ""
) -> OperatorRequest:
    """Record that ``by`` (in words; ``who`` is the account, if there is one) asks ``action`` of ``batch``.

    The request comes back handled, with its result, if the batch has ended. Whoever calls this has checked that they
    may ask, and wakes the nodes. Raises UnknownBatch.
    """
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        # The lock orders this against the write that ends the batch: either we see the end here, or that batch's
        # manager sees the request.
        found = Batch.objects.using(DEFAULT_DB_ALIAS).select_for_update(no_key=True).filter(pk=batch).first()
        if found is None:
            raise UnknownBatch(id=str(batch))
        request = OperatorRequest(
            batch=found,
            action=action,
            by=cut(by, MAX_BY),
            who_id=getattr(who, "pk", None),
            why=cut(why, MAX_REASON),
        )
        if found.has_ended:
            request.handled = timezone.now()
            request.result = f"Too late: the batch had already ended {found.state}"
        request.save(using=DEFAULT_DB_ALIAS, force_insert=True)
    return request


def cancel(batch: uuid.UUID, *, by: str, who: object = None, why: str = "") -> OperatorRequest:
    """Ask that ``batch`` be rolled back, unless it is decided by then. See :func:`ask`."""
    return ask(batch, OperatorRequest.Action.CANCEL, by=by, who=who, why=why)
