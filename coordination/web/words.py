"""States as pages show them: marks and words of a batch's states, and the style sheet of its tasks' colours."""

from collections.abc import Mapping
from dataclasses import dataclass

from coordination.protocol.states import LETTERS, LOOKS, BatchState, BranchState


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

    An element with ``data-state="FAILED"`` has ``--state`` set to the failed state's colour.
    """
    light = "".join(f"  {_token(state)}: {look.light};\n" for state, look in LOOKS.items())
    dark = "".join(f"    {_token(state)}: {look.dark};\n" for state, look in LOOKS.items())
    used = "".join(f'[data-state="{state}"] {{ --state: var({_token(state)}); }}\n' for state in LOOKS)
    return f":root {{\n{light}}}\n@media (prefers-color-scheme: dark) {{\n  :root {{\n{dark}  }}\n}}\n{used}"


def looks_for_script() -> dict[str, list[str]]:
    """Name, mark and word of each branch state, by its letter in frames."""
    return {look.letter: [state.value, look.mark, look.word] for state, look in LOOKS.items()}


def batch_looks_for_script() -> dict[str, list[str]]:
    """Branch state it is coloured like, mark, word and words of each batch state."""
    return {state.value: [look.like.value, look.mark, look.word, look.words] for state, look in BATCH_LOOKS.items()}


def counts_for_page(counts: Mapping[str, int]) -> list[dict[str, object]]:
    """One entry for each branch state, in the order of the protocol's table; ``counts`` is by letter."""
    return [
        {"state": state.value, "letter": LETTERS[state], "look": look, "count": counts.get(LETTERS[state], 0)}
        for state, look in LOOKS.items()
    ]


def _token(state: BranchState) -> str:
    return f"--state-{state.value.lower().replace('_', '-')}"
