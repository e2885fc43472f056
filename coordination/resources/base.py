"""What a kind of database must be able to do to take part: the :class:`Resource` protocol.

A resource belongs to one database alias of one process. It makes :class:`Work`, the database side of one execution
of a branch; and it finishes, looks up and lists prepared transactions, from any thread and any process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from coordination.protocol.attempt import Fate, Prepared
from coordination.protocol.holdings import Found
from coordination.protocol.messages import Failure
from coordination.protocol.states import Decision, Guarantee, Kind, Outcome


class ResourceError(Exception):
    """The database cannot be asked at the moment. Nothing is known; try again."""


class CannotBegin(ResourceError):
    """The database does not let this execution begin, and waiting is no use: its branch votes ROLLBACK, and says so."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What became of a gid that was ordered to be finished, and how that is known."""

    outcome: Outcome
    how: str


class Work(Protocol):
    """The database work of one execution. Used by one thread at a time."""

    found: Sequence[Found]
    """What was prepared of this branch when the work began; asked only if ``ask`` was given."""

    @property
    def rows(self) -> int:
        """Rows the body changed, as far as that was seen."""

    def interrupt(self) -> bool:
        """The batch is over: end the body's work, the statement that runs and any later one. False when there is no
        body any more to end. From any thread; never raises, and waits some seconds at the most.

        Never hits anything but the body: not PREPARE, and not what the connection is used for afterwards.
        """

    def problem(self) -> Failure | None:
        """Why this must not be prepared, although the body returned: a swallowed error, a commit of its own, …"""

    def explain(self, error: BaseException) -> str:
        """What the database knows about ``error`` beyond its own words, such as who held a lock; may be empty."""

    def wrote(self) -> bool:
        """Whether there is anything to prepare. Asked after :meth:`problem` found none."""

    proof: str | None
    """What the database needs later to tell this work's fate; known once :meth:`problem` has found none."""

    def prepare(self) -> tuple[Prepared, Failure | None]:
        """Make the promise durable under the gid. Raises nothing: an unknown result is a result."""

    def undo(self) -> None:
        """Roll back, or drop the connection so that the server does. Never raises."""

    def release(self) -> None:
        """Give the alias back to the thread. Called exactly once, after prepare or undo."""


class Resource(Protocol):
    """One database, as seen from one process."""

    alias: str
    kind: Kind
    guarantee: Guarantee

    def begin(self, *, gid: str, batch: UUID, branch: int, ask: bool, lock_timeout: float) -> Work:
        """Open a transaction behind the Django alias, in this thread. ``lock_timeout`` in seconds.

        ``ask``: look for prepared gids of this branch first. Raises ResourceError, CannotBegin.
        """

    def prepared_of(self, batch: UUID, branch: int) -> Sequence[Found]:
        """Prepared gids of one branch. Raises ResourceError."""

    def look_up(self, gid: str, proof: str | None) -> Fate:
        """What became of a PREPARE whose answer was lost. Never raises: not to be told is ``UNKNOWN``."""

    def finish(self, gid: str, outcome: Decision, proof: str | None) -> Finished:
        """Commit or roll back a prepared gid, from any process.

        "Does not exist" is answered with proof or as ``UNKNOWN``; busy and unreachable as ``UNKNOWN``. Never raises.
        """

    def recover(self) -> Sequence[Found]:
        """All prepared gids of this installation in this database, with their ages. Raises ResourceError."""

    def sweep(self) -> Sequence[Found]:
        """As :meth:`recover`, but nothing while another process sweeps this database. Raises ResourceError."""

    def close_idle(self, seconds: float) -> None:
        """Close connections that were not used for so long. Never raises."""

    def close(self) -> None:
        """Close all connections that are not in use. Never raises."""
