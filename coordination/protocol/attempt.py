"""The participant's side, pure: one :class:`Attempt` for each execution of a branch.

1.  Before running, and again before voting ``ROLLBACK``, it asks which gids of its branch are prepared. If one is,
    an earlier execution did the work: it votes ``COMMIT`` for that gid.
2.  It prepares only what it will vote ``COMMIT`` for, so that prepared implies voted (by it or by the sweep).
3.  After PREPARE it never rolls back by itself. A PREPARE with unknown result is looked up; if that cannot be told
    either it says nothing, and the sweep finds what there is.
4.  Celery's retry is not a vote: the work is undone and nothing is said.
5.  It undoes its work without a vote when its batch is known to be over: nobody needs that vote.

Each input returns the next :data:`Step`; the driver carries it out and feeds its result in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .messages import Failure


class Prepared(StrEnum):
    """How a PREPARE ended. ``REFUSED``: the server said no and rolled back. ``UNKNOWN``: no answer came."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Fate(StrEnum):
    """What a look-up by gid and proof tells of a PREPARE whose answer was lost."""

    PREPARED = "prepared"
    UNDONE = "undone"
    """Proved: it never was prepared and never will be."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Run:
    """Run the body, then say :meth:`Attempt.worked` or :meth:`Attempt.failed`."""


@dataclass(frozen=True)
class Prepare:
    """Prepare under the attempt's gid, then say :meth:`Attempt.prepared`."""


@dataclass(frozen=True)
class LookUp:
    """Ask the database what became of the attempt's gid, then say :meth:`Attempt.looked_up`."""


@dataclass(frozen=True)
class Undo:
    """Roll the work back, ask again which gids of the branch are prepared, then say :meth:`Attempt.undone`."""


@dataclass(frozen=True)
class VoteCommit:
    """Vote ``COMMIT`` for these gids: the attempt's own, or the ones found prepared. The attempt is over."""

    gids: tuple[str, ...]
    found: bool = False
    read_only: bool = False


@dataclass(frozen=True)
class VoteRollback:
    """Vote ``ROLLBACK`` for the attempt's gid. The attempt is over."""

    failure: Failure


@dataclass(frozen=True)
class Silent:
    """Say nothing; the attempt is over."""

    why: str


Step = Run | Prepare | LookUp | Undo | VoteCommit | VoteRollback | Silent


class Attempt:
    """One execution of a branch, from its Celery message to its vote."""

    def __init__(self, gid: str) -> None:
        self.gid = gid
        self._failure: Failure | None = None
        self._silent = ""

    def begin(self, *, found: Sequence[str], over: bool) -> Step:
        """``found``: gids of this branch that are prepared. ``over``: its batch is known to be decided."""
        if found:
            return VoteCommit(tuple(found), found=True)
        if over:
            return Silent("its batch was over before it ran")
        return Run()

    def worked(self, *, wrote: bool, over: bool) -> Step:
        """The body returned, and its database work is healthy."""
        if over:
            self._silent = "its batch was over when its work was done"
            return Undo()
        return Prepare() if wrote else VoteCommit((self.gid,), read_only=True)

    def failed(self, failure: Failure, *, over: bool = False) -> Step:
        """The body raised, or left its database work in a state that must not be prepared. ``over`` as in begin."""
        self._failure = failure
        if over:
            self._silent = "its batch was over when it failed"
        return Undo()

    def retried(self) -> Step:
        """The body asked Celery for another try."""
        self._silent = "it will be tried again"
        return Undo()

    def prepared(self, result: Prepared, failure: Failure | None = None) -> Step:
        """PREPARE ended so; ``failure`` has the server's words for ``REFUSED``."""
        if result is Prepared.DONE:
            return VoteCommit((self.gid,))
        if result is Prepared.UNKNOWN:
            self._failure = failure
            return LookUp()
        return self.failed(failure or Failure(type="", message="the database refused to prepare"))

    def looked_up(self, fate: Fate) -> Step:
        """What the look-up found."""
        if fate is Fate.PREPARED:
            return VoteCommit((self.gid,))
        if fate is Fate.UNDONE:
            return self.failed(self._failure or Failure(type="", message="the connection was lost at PREPARE"))
        return Silent("nobody can tell whether it is prepared; the sweep will")

    def undone(self, found: Sequence[str] | None) -> Step:
        """The work is rolled back; ``found`` as in :meth:`begin`, None if the database could not be asked."""
        if found:
            return VoteCommit(tuple(found), found=True)
        if self._silent:
            return Silent(self._silent)
        assert self._failure is not None
        if found is None:
            return Silent(f"its database cannot be asked whether another attempt is prepared ({self._failure.message})")
        return VoteRollback(self._failure)
