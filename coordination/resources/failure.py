"""An exception as the ``ROLLBACK`` vote carries it."""

import os
import traceback
from types import TracebackType

import celery

import coordination
from coordination.protocol.messages import MAX_REASON, Failure, cut

_NOT_THE_AUTHORS = tuple(os.path.dirname(str(module.__file__)) + os.sep for module in (coordination, celery))


def failure_of(error: BaseException, *, before: str = "", after: str = "") -> Failure:
    """Class, words and traceback of ``error``, cut to what a message takes; ``before`` and ``after`` frame its words.

    The traceback begins where the author's code does: how Celery and we got there is of no use to its reader.
    """
    try:
        words = str(error).strip()
    except Exception:  # An exception of the author's that cannot be shown must not cost the vote.
        words = "(its words cannot be shown)"
    message = before + words + (f" — {after}" if after else "")
    try:
        trace = "".join(traceback.format_exception(type(error), error, _authors(error.__traceback__)))
    except Exception:
        trace = ""
    return Failure(type=type(error).__name__, message=cut(message, MAX_REASON), traceback=cut(trace))


def _authors(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_NOT_THE_AUTHORS):
        trace = trace.tb_next
    return trace
