"""One sentence that says why a batch stands where it stands: why it rolled back, or why nothing is happening."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from coordination.protocol.states import BATCH_ENDED, CONTRADICTED, BatchState, BranchState


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the journal says of a batch, as far as the sentence needs it.

    ``counts`` has the number of tasks by state; ``oldest`` is the running task that started first, by number and time.
    """

    state: BatchState
    tasks: int
    counts: Mapping[BranchState, int]
    reason: str = ""
    waiting_for: str = ""
    queue: str = ""
    oldest: tuple[int, datetime] | None = None

    def count(self, *states: BranchState) -> int:
        """How many tasks are in one of ``states``."""
        return sum(self.counts.get(state, 0) for state in states)


def why(facts: Facts) -> str:
    """The sentence, with its full stop; for an open batch it says what is waited for."""
    reason = _sentence(facts.reason)
    if facts.state is BatchState.PENDING:
        return _sentence(f"Waiting for {facts.waiting_for}") if facts.waiting_for else "Waiting for a manager."
    if facts.state is BatchState.ACTIVE:
        return _waiting_for_votes(facts)
    if facts.state is BatchState.MIXED:
        return f"{reason} {_against(facts)}".strip()
    if facts.state in BATCH_ENDED:
        return reason
    left = facts.count(BranchState.PREPARED)
    verb = "committed" if facts.state is BatchState.COMMITTING else "rolled back"
    waits = f" Waiting for {facts.waiting_for}." if facts.waiting_for else ""
    return f"{reason} {left:,} of {facts.tasks:,} tasks still to be {verb} in their databases.{waits}".strip()


def _against(facts: Facts) -> str:
    """How many did not end as decided, and what is applied of the batch and what is not."""
    applied = facts.count(BranchState.COMMITTED, BranchState.HEURISTIC_COMMIT)
    lost = facts.count(BranchState.LOST)
    parts = [(applied, "applied"), (facts.tasks - applied - lost, "not applied"), (lost, "unknown")]
    told = ", ".join(f"{count:,} {word}" for count, word in parts if count)
    return f"{_tasks(facts.count(*CONTRADICTED))} ended against the decision, or nobody can tell how: {told}."


def _waiting_for_votes(facts: Facts) -> str:
    voted, running = facts.count(BranchState.PREPARED), facts.count(BranchState.RUNNING)
    missing = facts.tasks - voted
    if missing <= 0:
        return f"All {_tasks(facts.tasks)} are prepared; the decision is being stored."
    votes = f"Waiting for {missing:,} of {_tasks(facts.tasks)} to vote"
    if facts.waiting_for:
        return _sentence(f"{votes}, and for {facts.waiting_for}")
    if not running:
        return f"{votes}; none is running: waiting for a worker on queue {facts.queue or 'celery'}."
    if facts.oldest is None:
        return f"{votes}."
    number, since = facts.oldest
    return f"{votes}; task {number} has been running since {clock(since)}."


def clock(moment: datetime) -> str:
    """A time of day as sentences say it."""
    return f"{moment.astimezone(UTC):%H:%M:%S} UTC"


def _tasks(count: int) -> str:
    return f"{count:,} task" if count == 1 else f"{count:,} tasks"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else f"{text}."
