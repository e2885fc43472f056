"""States of batches and branches: which exist, which may follow which, and how a screen shows them.

Rules first, then one table each.

1.  A batch is decided once. ``COMMITTING`` and ``ROLLING_BACK`` are entered by the decision and by nothing else.
2.  A batch ends when every adopted gid is finished; without one to finish, in the write that decides.
3.  ``MIXED`` only from a decided state, and only when a branch contradicts the decision or is lost.
4.  A branch is ``PREPARED`` exactly while it has an adopted gid that is not finished.
5.  From ``PREPARED`` a branch leaves by the fate of its adopted gid only, never by another attempt's.
6.  A branch without an adopted gid ends with the decision ``ROLLBACK``: ``NOT_RUN`` if it never started,
    ``FAILED`` if it said why, else ``ROLLED_BACK``.
7.  A batch not yet dispatched has nothing to undo and ends when it is refused or cancelled; only a journal restored
    from a backup can be ``PENDING`` and hear of gids, and then goes through ``ROLLING_BACK`` as any other.
8.  ``RUNNING`` may be entered again (a new attempt of the same branch); nothing goes back to ``PENDING``.

Everything else that needs a state — model choices, CSS tokens, scripts' constants — derives from this module.
"""

from dataclasses import dataclass
from enum import StrEnum


class BatchState(StrEnum):
    """Where a batch stands. ``COMMITTED``, ``ROLLED_BACK`` and ``MIXED`` are its outcomes."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMMITTING = "COMMITTING"
    ROLLING_BACK = "ROLLING_BACK"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"
    MIXED = "MIXED"


class BranchState(StrEnum):
    """Where one branch (people see "task") stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PREPARED = "PREPARED"
    FAILED = "FAILED"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"
    NOT_RUN = "NOT_RUN"
    HEURISTIC_COMMIT = "HEURISTIC_COMMIT"
    HEURISTIC_ROLLBACK = "HEURISTIC_ROLLBACK"
    LOST = "LOST"


class Decision(StrEnum):
    """The coordinator's verdict, and the value of a vote: the two words are the same two."""

    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"


class Outcome(StrEnum):
    """What became of one gid, as the agent that tried to finish it reports it."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    UNKNOWN = "unknown"


class Declared(StrEnum):
    """What an approver says became of a task whose database is gone for good."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    LOST = "lost"

    @property
    def words(self) -> str:
        """As sentences say it."""
        return self.value.replace("_", " ")


class Kind(StrEnum):
    """How a branch keeps its promise.

    ``TWO_PHASE`` is durable in its database and finished by any agent, ``HELD`` lives in a worker process and is
    finished by it alone, ``READ_ONLY`` promises nothing because it wrote nothing: the decision finishes it.
    """

    TWO_PHASE = "two_phase"
    HELD = "held"
    READ_ONLY = "read_only"


class Guarantee(StrEnum):
    """What a batch can promise, strongest first; a batch's guarantee is its weakest branch's."""

    CRASH_SAFE = "crash_safe"
    PROCESS_BOUND = "process_bound"
    COMPENSATED = "compensated"

    @property
    def words(self) -> str:
        """The guarantee as people read it."""
        return {
            Guarantee.CRASH_SAFE: "Crash-safe",
            Guarantee.PROCESS_BOUND: "Atomic unless a worker process dies",
            Guarantee.COMPENSATED: "Undone, not isolated",
        }[self]

    @staticmethod
    def weakest(guarantees: "list[Guarantee]") -> "Guarantee":
        """The weakest of ``guarantees``; ``CRASH_SAFE`` for none."""
        order = list(Guarantee)
        return max(guarantees, key=order.index, default=Guarantee.CRASH_SAFE)


_B = BatchState
BATCH_TRANSITIONS: dict[BatchState, frozenset[BatchState]] = {
    _B.PENDING: frozenset({_B.ACTIVE, _B.ROLLING_BACK, _B.ROLLED_BACK}),
    _B.ACTIVE: frozenset({_B.COMMITTING, _B.ROLLING_BACK, _B.COMMITTED, _B.ROLLED_BACK}),
    _B.COMMITTING: frozenset({_B.COMMITTED, _B.MIXED}),
    _B.ROLLING_BACK: frozenset({_B.ROLLED_BACK, _B.MIXED}),
    _B.COMMITTED: frozenset(),
    _B.ROLLED_BACK: frozenset(),
    _B.MIXED: frozenset(),
}

_R = BranchState
BRANCH_TRANSITIONS: dict[BranchState, frozenset[BranchState]] = {
    _R.PENDING: frozenset({_R.RUNNING, _R.PREPARED, _R.FAILED, _R.NOT_RUN}),
    _R.RUNNING: frozenset({_R.PREPARED, _R.FAILED, _R.ROLLED_BACK}),
    _R.PREPARED: frozenset({_R.COMMITTED, _R.ROLLED_BACK, _R.HEURISTIC_COMMIT, _R.HEURISTIC_ROLLBACK, _R.LOST}),
    _R.FAILED: frozenset(),
    _R.COMMITTED: frozenset(),
    _R.ROLLED_BACK: frozenset(),
    _R.NOT_RUN: frozenset(),
    _R.HEURISTIC_COMMIT: frozenset(),
    _R.HEURISTIC_ROLLBACK: frozenset(),
    _R.LOST: frozenset(),
}

BATCH_ENDED = frozenset(state for state, following in BATCH_TRANSITIONS.items() if not following)
BRANCH_ENDED = frozenset(state for state, following in BRANCH_TRANSITIONS.items() if not following)
CONTRADICTED = frozenset({_R.HEURISTIC_COMMIT, _R.HEURISTIC_ROLLBACK, _R.LOST})


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a screen shows a branch state: letter in frames, colours of both themes, shape, mark and word."""

    letter: str
    light: str
    dark: str
    shape: str
    mark: str
    word: str


LOOKS: dict[BranchState, Look] = {
    _R.PENDING: Look(letter=".", light="#7a7e8f", dark="#777c88", shape="outline", mark="○", word="Pending"),
    _R.RUNNING: Look(letter="r", light="#0a9bdd", dark="#76d9fb", shape="lower-half", mark="◐", word="Running"),
    _R.PREPARED: Look(letter="p", light="#b87d08", dark="#fdc203", shape="hole", mark="◉", word="Prepared"),
    _R.FAILED: Look(letter="x", light="#b01c07", dark="#f93b16", shape="cross", mark="✕", word="Failed"),
    _R.COMMITTED: Look(letter="c", light="#0c7c5e", dark="#28a782", shape="solid", mark="✓", word="Committed"),
    _R.ROLLED_BACK: Look(letter="b", light="#9521b1", dark="#ce60dd", shape="diagonal", mark="↺", word="Rolled back"),
    _R.NOT_RUN: Look(letter="-", light="#7a7e8f", dark="#777c88", shape="dash", mark="–", word="Not run"),
    _R.HEURISTIC_COMMIT: Look(
        letter="C", light="#b01c07", dark="#f93b16", shape="framed", mark="⚠", word="Committed against the decision"
    ),
    _R.HEURISTIC_ROLLBACK: Look(
        letter="B", light="#b01c07", dark="#f93b16", shape="framed", mark="⚠", word="Rolled back against the decision"
    ),
    _R.LOST: Look(letter="?", light="#b01c07", dark="#f93b16", shape="framed", mark="?", word="Nobody can tell"),
}

LETTERS: dict[BranchState, str] = {state: look.letter for state, look in LOOKS.items()}
