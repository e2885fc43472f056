"""Where mutants are registered, and how one is judged."""

from collections.abc import Callable
from typing import Any

from coordination.protocol import coordinator
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.stored import Snapshot

from ..world import Parts, Violation, World

MUTANTS: dict[str, Parts] = {}


def mutant(part: str, **others: Any) -> Callable[[Any], Any]:
    """Register the decorated class as a mutant that takes the place of ``part``."""

    def register(broken: Any) -> Any:
        MUTANTS[broken.__name__] = Parts(**{part: broken}, **others)
        return broken

    return register


def within_coordinator(**others: Any) -> Callable[[Any], Any]:
    """Register the decorated class as a mutant that takes the place of its base class in coordinators."""

    def register(broken: Any) -> Any:
        MUTANTS[broken.__name__] = Parts(coordinator=made_of(broken), **others)
        return broken

    return register


def made_of(*broken: type) -> Callable[[Snapshot], Coordinator]:
    """What makes a coordinator with each of ``broken`` where it would have that one's base class."""
    whole = {each.__bases__[0].__name__: each.__bases__[0] for each in broken}
    for name, part in whole.items():
        assert getattr(coordinator, name) is part, f"no coordinator has a part {name}"

    def make(snapshot: Snapshot) -> Coordinator:
        vars(coordinator).update(zip(whole, broken, strict=True))
        try:
            return Coordinator(snapshot)
        finally:
            vars(coordinator).update(whole)

    return make


def caught(parts: Parts, schedules: int) -> tuple[int, Violation] | None:
    """How many schedules it took to see a violation, and that; None if none of ``schedules`` shows one."""
    for seed in range(schedules):
        try:
            World(seed, parts).run()
        except Violation as violation:
            return seed + 1, violation
    return None
