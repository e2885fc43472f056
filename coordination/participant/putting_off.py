"""Sending a branch's message once more, to be carried out a little later, by whoever gets it."""

from typing import Any

from celery.exceptions import Reject, Retry
from kombu.exceptions import OperationalError

from .ticket import KEY

SECONDS = 5
"""How much later. Waiting so takes no worker slot."""


def put_off(task: Any, error: Exception, *, again: bool) -> Exception:
    """Publish the message of the running ``task`` anew. Returns what to raise: Celery's Retry, or, if the message
    cannot be published, Reject, with which the broker keeps the one there is.

    Not one of the author's retries: ``retries`` stays, and no vote is cast. ``again``: this execution may have left
    something prepared, or an earlier one.
    """
    request = task.request
    ticket = {**request.kwargs[KEY]}
    ticket["again"] = bool(ticket.get("again")) or again
    try:
        task.signature_from_request(
            request, kwargs={**request.kwargs, KEY: ticket}, countdown=SECONDS, retries=request.retries or 0
        ).apply_async()
    except Exception as refused:
        kept: Exception = Reject(refused, requeue=True)
        return kept
    later: Exception = Retry(f"Put off for {SECONDS} s: {error}", error, SECONDS)
    return later


def kept_if_unsent(error: Exception) -> Exception:
    """What to raise for ``error`` of a body: itself, but for a retry of the author's that could not be published.

    Celery then rejects the message for good, and the task would be lost for want of a broker; so the broker keeps it.
    """
    if isinstance(error, Reject) and not error.requeue and isinstance(error.reason, OperationalError):
        back: Exception = Reject(error.reason, requeue=True)
        return back
    return error
