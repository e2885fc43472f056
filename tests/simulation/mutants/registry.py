"""Where mutants are registered, and how one is judged."""

from collections.abc import Callable
from typing import Any

from ..world import Parts, Violation, World

MUTANTS: dict[str, Parts] = {}


def mutant(part: str, **others: Any) -> Callable[[Any], Any]:
    """Register the decorated class as a mutant that takes the place of ``part``."""

    def register(broken: Any) -> Any:
        MUTANTS[broken.__name__] = Parts(**{part: broken}, **others)
        return broken

    return register


def caught(parts: Parts, schedules: int) -> tuple[int, Violation] | None:
    """How many schedules it took to see a violation, and that; None if none of ``schedules`` shows one."""
    for seed in range(schedules):
        try:
            World(seed, parts).run()
        except Violation as violation:
            return seed + 1, violation
    return None
