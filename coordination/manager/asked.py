"""What people ask of a batch, as its coordinator is told: each request is answered, in the write that it leads to."""

from coordination.journal.claims import Asked
from coordination.models import OperatorRequest
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.messages import MAX_REASON, cut
from coordination.protocol.states import Declared


def tell(core: Coordinator, asked: Asked, *, node: str) -> None:
    """Tell ``core`` of what is asked. ``node``, who does so, may be older than the site where it was asked.

    What it does not know by its name it refuses, and the batch goes on.
    """
    why = f": {asked.why}" if asked.why else ""
    match asked.action:
        case OperatorRequest.Action.CANCEL:
            core.cancel(asked.id, f"Cancelled by {asked.by}{why}")
        case OperatorRequest.Action.RETRY:
            core.ask_again(asked.id)
        case OperatorRequest.Action.DECLARE if asked.fate in list(Declared):
            fate = Declared(asked.fate)
            core.declare(asked.id, asked.tasks, fate, cut(f"Declared {fate.words} by {asked.by}{why}", MAX_REASON))
        case OperatorRequest.Action.DECLARE:
            core.answer(asked.id, _unknown(asked.fate, node))
        case _:
            core.answer(asked.id, _unknown(asked.action, node))


def _unknown(word: str, node: str) -> str:
    return f"Refused: node {node} does not know {word!r}; upgrade it, then ask again"
