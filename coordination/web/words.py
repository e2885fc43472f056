"""States as pages show them: marks and words of a batch's states, and the style sheet of its tasks' colours."""

from collections.abc import Mapping
from dataclasses import dataclass

from coordination.live.standing import PHASES
from coordination.protocol.states import CONTRADICTED, LETTERS, LOOKS, BatchState, BranchState, Guarantee, Look

WRONG = tuple(state for state in BranchState if state is BranchState.FAILED or state in CONTRADICTED)
"""States of a task that somebody has to look at."""

MEANINGS: dict[BranchState, str] = {
    BranchState.PENDING: "No worker has begun with it.",
    BranchState.RUNNING: "A worker is at it.",
    BranchState.PREPARED: "Ready, not yet applied: its work is stored in its database, where nobody sees it.",
    BranchState.FAILED: "It went wrong, and so the batch is rolled back.",
    BranchState.COMMITTED: "Applied: what it wrote is there for all to see.",
    BranchState.ROLLED_BACK: "Undone: nothing of what it wrote is left.",
    BranchState.NOT_RUN: "The batch was over before a worker began with it.",
    BranchState.HEURISTIC_COMMIT: "Somebody committed by hand what was to be rolled back.",
    BranchState.HEURISTIC_ROLLBACK: "Somebody rolled back by hand what was to be committed.",
    BranchState.LOST: "Its database is gone for good: nobody can tell what became of it.",
}
"""What each state of a task means, for those who see it for the first time."""

PROMISES: dict[Guarantee, str] = {
    Guarantee.CRASH_SAFE: "All of the batch is applied or nothing, whatever process dies whenever.",
    Guarantee.PROCESS_BOUND: "All or nothing, unless a worker process dies between the decision and its commit.",
    Guarantee.COMPENSATED: "What was done is undone by a second step; until then others may see it.",
}
"""What each guarantee means."""

COLUMNS = {
    "number": "No.",
    "name": "Task",
    "database": "Database",
    "state": "State",
    "started": "Started",
    "took": "Took",
}


@dataclass(frozen=True, kw_only=True)
class BatchLook:
    """How a batch's state is shown: with the colour of ``like``, a mark, and words short and long."""

    like: BranchState
    mark: str
    word: str
    words: str


BATCH_LOOKS: dict[BatchState, BatchLook] = {
    BatchState.PENDING: BatchLook(
        like=BranchState.PENDING, mark="○", word="Pending", words="Pending – not started yet"
    ),
    BatchState.ACTIVE: BatchLook(
        like=BranchState.RUNNING,
        mark="◐",
        word="Running",
        words="Running – nothing is applied before all tasks are ready",
    ),
    BatchState.COMMITTING: BatchLook(
        like=BranchState.PREPARED, mark="◉", word="Committing", words="Decided to commit – databases are committing"
    ),
    BatchState.ROLLING_BACK: BatchLook(
        like=BranchState.ROLLED_BACK,
        mark="↺",
        word="Rolling back",
        words="Decided to roll back – databases are rolling back",
    ),
    BatchState.COMMITTED: BatchLook(
        like=BranchState.COMMITTED, mark="✓", word="Committed", words="Committed – all of it is applied"
    ),
    BatchState.ROLLED_BACK: BatchLook(
        like=BranchState.ROLLED_BACK, mark="↺", word="Rolled back", words="Rolled back – nothing of it is applied"
    ),
    BatchState.MIXED: BatchLook(
        like=BranchState.LOST, mark="⚠", word="Mixed", words="Mixed – not all tasks ended as decided"
    ),
}


def states_css() -> str:
    """The style sheet with each branch state's colour, light and dark, for whatever has ``data-state``.

    An element with ``data-state="FAILED"`` has ``--state`` set to the failed state's colour; which of the two is used
    follows its ``color-scheme``.
    """
    tokens = "".join(f"  {_token(state)}: light-dark({look.light}, {look.dark});\n" for state, look in LOOKS.items())
    used = "".join(f'[data-state="{state}"] {{ --state: var({_token(state)}); }}\n' for state in LOOKS)
    return f":root {{\n{tokens}}}\n{used}"


def looks_for_script() -> dict[str, list[str]]:
    """Name, mark, word and shape of each branch state, by its letter in frames, in the order of the table."""
    return {look.letter: [state.value, look.mark, look.word, look.shape] for state, look in LOOKS.items()}


def batch_looks_for_script() -> dict[str, list[str]]:
    """Branch state it is coloured like, mark, word and words of each batch state."""
    return {state.value: [look.like.value, look.mark, look.word, look.words] for state, look in BATCH_LOOKS.items()}


def counts_for_page(counts: Mapping[str, int]) -> list[dict[str, object]]:
    """One entry for each branch state, in the order of the protocol's table; ``counts`` is by letter."""
    return [
        {"state": state.value, "name": state.value.lower(), "look": look, "count": counts.get(look.letter, 0)}
        for state, look in LOOKS.items()
    ]


def meanings(counts: Mapping[str, int]) -> list[tuple[BranchState, Look, str]]:
    """State, look and meaning of each state but those of a harm that this batch, by its ``counts``, has not come to."""
    usual = [state for state in LOOKS if state not in CONTRADICTED or counts.get(LETTERS[state])]
    return [(state, LOOKS[state], MEANINGS[state]) for state in usual]


def title_prefix(state: BatchState, counts: Mapping[str, int], tasks: int) -> str:
    """What the tab's title begins with: the failures if there are any, else how far the batch is; as in the script."""
    failed = sum(counts.get(LETTERS[one], 0) for one in WRONG)
    if failed:
        return f"{LOOKS[BranchState.FAILED].mark} {failed:,} failed"
    look = BATCH_LOOKS[state]
    if state is BatchState.ACTIVE:
        return f"{look.mark} {counts.get(LETTERS[BranchState.PREPARED], 0):,} of {tasks:,}"
    return f"{look.mark} {look.word}"


def steps(phase: str, decision: str | None) -> list[dict[str, str]]:
    """The stepper: word and state (done, now, ahead) of each phase."""
    finish = {"COMMIT": "Commit", "ROLLBACK": "Roll back"}.get(decision or "", "Commit or roll back")
    labels = {"prepare": "Prepare", "decide": "Decide", "finish": finish, "done": "Done"}
    here = len(PHASES) if phase == "done" else PHASES.index(phase)
    places = ["done" if n < here else "now" if n == here else "ahead" for n in range(len(PHASES))]
    return [{"name": name, "word": labels[name], "is": place} for name, place in zip(PHASES, places, strict=True)]


def columns(sort: str) -> list[dict[str, str]]:
    """The table's headings: word, what a click sorts by next, and how the column is sorted now (for ``aria-sort``)."""
    by, down = sort.removeprefix("-"), sort.startswith("-")
    return [
        {
            "name": name,
            "word": word,
            "next": f"-{name}" if name == by and not down else name,
            "sorted": ("descending" if down else "ascending") if name == by else "",
        }
        for name, word in COLUMNS.items()
    ]


def _token(state: BranchState) -> str:
    return f"--state-{state.value.lower().replace('_', '-')}"
