"""Judging by the outcome alone."""

from ..checks import Checks
from ..databases import Transaction


class OutcomeOnly(Checks):
    """A judge that sees only how it ended: to tell which broken rule breaks somebody's data."""

    def committed(self, tx: Transaction) -> None:
        """Count, as the tasks' own counters would."""
        for n in tx.members:
            self.effects[n] = self.effects.get(n, 0) + 1

    def _blind(self, *_: object) -> None:
        """Not looked at."""

    rolled_back = told = acknowledged = stray_answered = storing = stored = rebuilds = _blind  # type: ignore[assignment]
