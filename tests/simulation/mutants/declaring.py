"""Mutants of declaring."""

from collections.abc import Sequence

from coordination.protocol.finishing import Finishing
from coordination.protocol.states import BatchState, BranchState, Decision, Declared, Kind

from ..weather import declared
from .registry import within_coordinator


@within_coordinator(weather=declared)
class DeclaresBeforeTheDecision(Finishing):
    """A declaration counts for what is prepared, decided or not."""

    def declared(self, numbers: Sequence[int], fate: Declared, how: str) -> str:
        if self._batch.decision is None:
            for number in self._batch.unfinished.intersection(numbers):
                self._close(self._batch.branches[number], BranchState.LOST, how)
            return "Declared"
        return super().declared(numbers, fate, how)


@within_coordinator(weather=declared)
class DeclaredCountsAsDecided(Finishing):
    """Whatever is declared, the batch ends as it was decided."""

    def end_if_finished(self) -> None:
        super().end_if_finished()
        if self._ahead.next.state is BatchState.MIXED:
            commit = self._batch.decision is Decision.COMMIT
            self._ahead.turn(BatchState.COMMITTED if commit else BatchState.ROLLED_BACK)


@within_coordinator(weather=declared)
class DeclaresOverWhatIsKnown(Finishing):
    """A declaration changes what a database has answered already."""

    def declared(self, numbers: Sequence[int], fate: Declared, how: str) -> str:
        for number in numbers:
            branch = self._batch.branches[number]
            if self._batch.decision is not None and branch.gid is not None and branch.kind is not Kind.READ_ONLY:
                self._batch.unfinished.add(number)
        return super().declared(numbers, fate, how)
