"""Rules of the deciding side that live outside one batch's coordinator: claiming, taking over, answering strays."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from .effects import Tell
from .messages import Order, OrderItem, Started, Stop, ToManager, Votes
from .states import Decision, Kind


class Takeover(StrEnum):
    """The steps of taking a batch over, in the only order that is safe.

    The epoch is raised before the journal is read, so that nothing the former manager still writes can be missed;
    it is read in a new statement, so that it sees what that write waited for.
    """

    RAISE_EPOCH = "raise_epoch"
    READ_JOURNAL = "read_journal"
    CONSUME = "consume"
    RESUME = "resume"
    WAIT_FOR_ANSWERS = "wait_for_answers"
    REDISPATCH = "redispatch"


TAKEOVER = tuple(Takeover)


class Cleanup(StrEnum):
    """The steps after a batch's end is stored, in the only order that is safe; all may be repeated at any time.

    Someone who did not know of the end may have declared the queue again after it was deleted, and found that out
    (:func:`must_clean_up`) before that was stored: so once it is stored the queue is deleted once more. Who finds it
    out raises the batch's epoch as well; ``STORE_DELETED`` stores nothing, and all begins again, if the epoch is not
    what it was at the first step: or a crash before ``DELETE_AGAIN`` could leave a queue that nobody looks for. A queue
    that holds messages is never deleted: begin again with reading them.
    """

    READ_AS_STRAYS = "read_as_strays"
    DELETE_QUEUE = "delete_queue"
    STORE_DELETED = "store_deleted"
    DELETE_AGAIN = "delete_again"


CLEANUP = tuple(Cleanup)

ANSWER_SECONDS = 2.0
"""How long ``inquire`` and ``still_held`` wait for their answers."""


@dataclass(frozen=True, kw_only=True)
class StrayFacts:
    """What the journal says of the batch a stray names, read after the stray arrived and from the primary.

    ``adopted`` maps each gid of the stray that is adopted to whether it is finished.
    """

    known: bool
    decision: Decision | None = None
    ended: bool = False
    adopted: Mapping[str, bool] | None = None


@dataclass(frozen=True)
class PutBack:
    """The batch is open: publish the message to its queue, then acknowledge it. Without a queue it comes again.

    The queue is not declared for it: that is its manager's, who must find out that it was lost.
    """


def answer_stray(message: ToManager, facts: StrayFacts) -> PutBack | tuple[Tell, ...]:
    """What to do with a message whose batch queue was gone; acknowledge it when that is done.

    Rule 6 of the protocol: a decided batch answers each vote for its gid; an unknown batch is rolled back
    (presumed abort). ``started`` of a batch that is over is answered with ``stop``.
    """
    if facts.known and not facts.ended:
        return PutBack()
    if isinstance(message, Started):
        return (Tell(process=message.process, message=Stop(batch=message.batch)),)
    if not isinstance(message, Votes):
        return ()
    adopted = facts.adopted or {}
    orders = []
    for item in message.items:
        if item.vote is Decision.ROLLBACK or item.kind is Kind.READ_ONLY:
            continue
        outcome = facts.decision if facts.decision is not None and item.gid in adopted else Decision.ROLLBACK
        orders.append(OrderItem(gid=item.gid, outcome=outcome, alias=item.alias, proof=item.proof))
    return (Tell(process=message.process, message=Order(batch=message.batch, items=tuple(orders))),) if orders else ()


def must_clean_up(facts: StrayFacts) -> bool:
    """Asked by whoever has declared a batch's queue (taking over, after a loss), right after.

    True: the batch is over or unknown, and its queue may have been deleted before it was declared. Store that it is
    not (``queue_deleted = false``) and clean up. A queue that nobody reads would swallow every later vote of a
    zombie's gid, which then stays prepared for ever.
    """
    return facts.ended or not facts.known


def repeat_delay(repeats: int) -> float:
    """Seconds to wait before saying again what is not finished, after ``repeats`` times."""
    return min(1.5 * 1.5**repeats, 30.0)
