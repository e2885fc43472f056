"""Why a batch was decided so, and what was done for people, in words."""

from collections.abc import Mapping, Sequence

from .memory import Branch
from .states import BranchState


def all_voted(tasks: int) -> str:
    """Why a batch is committed."""
    return f"All {tasks:,} tasks voted to commit" if tasks > 1 else "Its only task voted to commit"


def task(number: int, branches: Mapping[int, Branch]) -> str:
    """How a reason begins that names one task."""
    return f"Task {number} of {len(branches):,}"


def deadline(branches: Mapping[int, Branch]) -> str:
    """What was missing when the deadline passed."""
    numbers: dict[BranchState, list[int]] = {state: [] for state in BranchState}
    for branch in branches.values():
        numbers[branch.state].append(branch.number)
    words = f"Deadline passed with {len(numbers[BranchState.PREPARED]):,} of {len(branches):,} tasks prepared"
    if running := numbers[BranchState.RUNNING]:
        words += f"; still running: {listed(running)}"
    if never := numbers[BranchState.PENDING]:
        words += f"; never started: {listed(never)}"
    return words


def counted(tasks: int) -> str:
    """How many tasks."""
    return "1 task" if tasks == 1 else f"{tasks:,} tasks"


def listed(numbers: Sequence[int]) -> str:
    """Which tasks: the first ten by number, and how many more."""
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10:,} more" if len(numbers) > 10 else shown
