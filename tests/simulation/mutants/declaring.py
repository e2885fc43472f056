"""Mutants of declaring."""

from collections.abc import Sequence

from coordination.protocol.coordinator import Coordinator
from coordination.protocol.states import BatchState, BranchState, Declared, Kind

from ..weather import declared
from .registry import mutant


@mutant("coordinator", weather=declared)
class DeclaresBeforeTheDecision(Coordinator):
    """A declaration counts for what is prepared, decided or not."""

    def _declared(self, numbers: Sequence[int], fate: Declared, how: str) -> str:
        if self.decision is None:
            for number in self._unfinished.intersection(numbers):
                self._close(self.branches[number], BranchState.LOST, how)
            return "Declared"
        return super()._declared(numbers, fate, how)


@mutant("coordinator", weather=declared)
class DeclaredCountsAsDecided(Coordinator):
    """Whatever is declared, the batch ends as it was decided."""

    def _turn(self, state: BatchState) -> None:
        ends = BatchState.COMMITTED if self.state is BatchState.COMMITTING else BatchState.ROLLED_BACK
        super()._turn(ends if state is BatchState.MIXED else state)


@mutant("coordinator", weather=declared)
class DeclaresOverWhatIsKnown(Coordinator):
    """A declaration changes what a database has answered already."""

    def _declared(self, numbers: Sequence[int], fate: Declared, how: str) -> str:
        for number in numbers:
            branch = self.branches[number]
            if self.decision is not None and branch.gid is not None and branch.kind is not Kind.READ_ONLY:
                self._unfinished.add(number)
        return super()._declared(numbers, fate, how)
