"""One rule of the protocol broken at a time, in the processes of a chaos run: the checker has to see each.

The product knows nothing of this: the app of the run (:mod:`tests.chaos.load`) puts a defect in as its process starts.
Rules whose breach needs rare moments to meet ("does not exist" read as committed; an announcement before the decision
is stored, then a crash and a cancellation) have mutants in ``tests/simulation/mutants``, which meets them by the
thousand.
"""

import random
from typing import Any


def rolls_back_by_itself() -> None:
    """A participant now and then rolls back after PREPARE, and votes all the same."""
    from coordination.protocol.states import Decision
    from coordination.resources.postgresql import PostgreSQLResource
    from coordination.resources.postgresql_work import PostgreSQLWork

    whole = PostgreSQLWork.prepare

    def prepare(self: Any) -> Any:
        result = whole(self)
        if random.random() < 0.02:
            PostgreSQLResource.finish(self._resource, self._gid, Decision.ROLLBACK, self.proof)
        return result

    PostgreSQLWork.prepare = prepare  # type: ignore[method-assign]


def commits_at_once() -> None:
    """A participant commits its work where it should prepare it, and votes."""
    from coordination.protocol.attempt import Prepared
    from coordination.resources import pq
    from coordination.resources.postgresql_work import PostgreSQLWork

    def prepare(self: Any) -> Any:
        self._body.end()
        self._enlisted.disarm()
        pq.ask(self._wrapper, "COMMIT")
        return Prepared.DONE, None

    PostgreSQLWork.prepare = prepare  # type: ignore[method-assign]


def decides_without_the_last() -> None:
    """A coordinator takes all votes but one for all."""
    from coordination.protocol.deciding import Deciding

    whole = Deciding.decide_if_complete

    def decide(self: Any) -> None:
        batch = self._batch
        all_of_them, batch.unadopted = batch.unadopted, max(batch.unadopted - 1, 0)
        try:
            whole(self)
        finally:
            batch.unadopted = all_of_them

    Deciding.decide_if_complete = decide  # type: ignore[method-assign]


def sweep_rolls_back() -> None:
    """A sweep rolls back whatever has been prepared for a second, without asking."""
    from coordination.protocol.states import Decision
    from coordination.resources.postgresql import PostgreSQLResource

    whole = PostgreSQLResource.sweep

    def sweep(self: Any) -> Any:
        found = whole(self)
        for each in found:
            if each.age > 1:
                self.finish(each.gid, Decision.ROLLBACK, each.proof)
        return found

    PostgreSQLResource.sweep = sweep  # type: ignore[method-assign]


_DEFECTS = (rolls_back_by_itself, commits_at_once, decides_without_the_last, sweep_rolls_back)
NAMES = tuple(defect.__name__ for defect in _DEFECTS)


def put_in(name: str) -> None:
    """Break that rule in this process."""
    dict(zip(NAMES, _DEFECTS, strict=True))[name]()
