"""One execution of a branch whose transaction is held open after the vote."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from coordination.protocol.attempt import Prepared
from coordination.protocol.holdings import Found
from coordination.protocol.messages import MAX_REASON, Failure, cut

from . import marker
from .base import ResourceError
from .body import LEAKED, Body
from .enlisted import Enlisted
from .failure import failure_of

if TYPE_CHECKING:
    from .held import HeldResource


class HeldWork:
    """An open transaction behind the alias, until it is parked or undone."""

    def __init__(self, resource: "HeldResource", wrapper: BaseDatabaseWrapper, gid: str, *, database: str) -> None:
        self.found: Sequence[Found] = ()
        self.proof: str | None = None
        self._resource = resource
        self._engine = resource.engine
        self._wrapper = wrapper
        self._enlisted = Enlisted(wrapper)
        self._body = Body(self._enlisted)
        self._gid = gid
        self._database = database
        self._parked = self._lost = False

    @property
    def rows(self) -> int:
        """As :attr:`Work.rows`."""
        return self._enlisted.watch.rows

    def open(self, *, lock_timeout: float) -> None:
        """Begin, and leave the mark. Raises Django's database errors, with the slot as it was."""
        self._engine.limit_waits(self._wrapper, lock_timeout, local=False)
        self._enlisted.enter()
        try:
            marker.put(self._wrapper, self._gid)
            self._engine.begun(self._wrapper)
        except BaseException:
            self._enlisted.leave()
            raise

    def interrupt(self) -> bool:
        """As :meth:`Work.interrupt`."""
        return self._body.interrupt(lambda: self._engine.interrupt(self._wrapper))

    def problem(self) -> Failure | None:
        """As :meth:`Work.problem`."""
        if problem := self._body.problem(self.explain):
            return problem
        try:
            intact = marker.is_there(self._wrapper, self._gid) and not self._resource.seen_by_a_stranger(self._gid)
        except (Error, ResourceError) as error:
            return failure_of(error, before="its transaction does not stand any more, or cannot be looked at: ")
        if not intact:
            return Failure(type="TransactionEnded", message=LEAKED)
        self.proof = self._database
        return None

    def explain(self, error: BaseException) -> str:
        """As :meth:`Work.explain`."""
        if self._engine.is_locked(error):
            return "somebody else held the lock for all that time, such as another task that waits for its decision"
        return ""

    def wrote(self) -> bool:
        """Always: the mark. Whether the body wrote anything cannot be known of every engine."""
        return True

    def prepare(self) -> tuple[Prepared, Failure | None]:
        """As :meth:`Work.prepare`: check what COMMIT would check, and park the connection."""
        self._body.end()
        self._enlisted.disarm()
        try:
            self._engine.ended(self._wrapper)
            self._engine.check(self._wrapper)
            self._engine.stands(self._wrapper)
        except Error as error:
            return Prepared.REFUSED, Failure(type=type(error).__name__, message=cut(str(error).strip(), MAX_REASON))
        full = self._resource.park(self._gid, self._wrapper, clean=not self._enlisted.watch.session_touched)
        if full:
            return Prepared.REFUSED, Failure(type="HeldFull", message=full)
        self._parked = True
        return Prepared.DONE, None

    def undo(self) -> None:
        """As :meth:`Work.undo`."""
        self._body.end()
        self._enlisted.disarm()
        self._lost = not self._resource.roll_back(self._wrapper)

    def release(self) -> None:
        """As :meth:`Work.release`. A parked connection stays where it is."""
        self._enlisted.leave()
        if not self._parked:
            keep = not (self._lost or self._body.interrupted or self._enlisted.watch.session_touched)
            self._resource.give_back(self._wrapper, keep=keep)
