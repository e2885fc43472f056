"""One execution of a branch, from its Celery message to its vote.

When what may be said is :class:`~coordination.protocol.attempt.Attempt`'s to know; this carries its steps out.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from celery.exceptions import Ignore, Reject, Retry

from coordination import conf, crashpoints
from coordination.crashpoints import Point
from coordination.errors import CoordinationError
from coordination.protocol import gid as gids
from coordination.protocol.attempt import (
    Attempt,
    LookUp,
    Prepare,
    Run,
    Silent,
    Step,
    Undo,
    VoteCommit,
    VoteRollback,
)
from coordination.protocol.holdings import Found, vote_for
from coordination.protocol.messages import Failure, StartedItem, VoteItem
from coordination.protocol.states import Decision, Kind
from coordination.resources import registry
from coordination.resources.base import CannotBegin, Resource, ResourceError, Work
from coordination.resources.failure import failure_of

from .enlist import Guard
from .lifecycle import current_agent
from .putting_off import kept_if_unsent, put_off
from .quiet import NoSoftLimit
from .ticket import Ticket, running

STARTED_SECONDS = 5.0
"""How long a message that was delivered before waits for its ``started`` to be confirmed."""
ANSWER_SECONDS = 0.5
"""How long it then waits for the answer that its batch is over, which is the only answer there is."""


class NotPrepared(CoordinationError):
    """This task voted to roll its batch back: {words}"""


class Dropped(Ignore):
    """This run of a task was in vain, because its batch is over: words, and the hex of the batch's id."""


class Execution:
    """One Celery message being carried out, in the thread that got it."""

    def __init__(self, task: Any, ticket: Ticket, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._task, self._ticket, self._args, self._kwargs = task, ticket, args, kwargs
        self.batch = ticket.batch
        request = task.request
        self._retries = int(request.retries or 0)
        self._redelivered = bool((request.delivery_info or {}).get("redelivered"))
        # Listing what is prepared costs as much as there is: asked for each task, a batch would pay its square.
        # So a message that is certainly the first of its branch does not ask before it runs.
        self._first = not (ticket.again or self._redelivered or self._retries)
        self._agent = current_agent()
        self._token = secrets.token_hex(8)
        self._gid = gids.build(
            installation=conf.installation(), batch=ticket.batch, branch=ticket.number, round=0, token=self._token
        )
        self._attempt = Attempt(self._gid)
        self._resource: Resource
        self._work: Work | None = None
        self._found: Sequence[Found] = ()
        self._proof: str | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._evidence: dict[str, Any] = {}
        self._limit = NoSoftLimit()

    def run(self) -> Any:
        """Carry it out, and return what the body returned.

        Raises what the body raised, after its vote; NotPrepared when the body returned and all the same its work
        must not be committed; Celery's Ignore when this execution was not needed, and Retry when it is put off.
        """
        self._limit.impose()
        self._agent.at_work(self)
        try:
            step = self._connect() or self._begin()
            while not isinstance(step, VoteCommit | VoteRollback | Silent):
                step = self._next(step)
            return self._end(step)
        finally:
            if self._work is not None:  # The process is being ended, in the middle of it.
                self._undo()
            self._agent.at_rest(self)
            self._limit.lift(raises=False)

    def interrupt(self) -> bool:
        """As :meth:`AtWork.interrupt`. Before there is work to end, it is looked whether the batch is over."""
        work = self._work
        return work is not None and work.interrupt()

    def _connect(self) -> Step | None:
        """Wait until this process can be told decisions; the step that ends this execution if it cannot run here."""
        ticket = self._ticket
        while not self._agent.wait_connected(1.0):
            if time.time() > ticket.deadline:
                raise Ignore(f"batch {ticket.batch} was over before this worker reached the broker")
        try:
            self._resource = registry.resource_of(ticket.alias)
        except CoordinationError as error:
            # This worker's settings lack the database. If nobody can have prepared this branch, say so at once.
            if not self._first:
                raise put_off(self._task, error, again=True) from error
            self._error = error
            self._attempt.failed(failure_of(error))
            return self._attempt.undone(())
        return None

    def _begin(self) -> Step:
        ticket = self._ticket
        if self._first and self._over():
            # Nobody can have prepared it: so many leave the queue like this that a question to the database counts.
            return self._attempt.begin(found=(), over=True)
        lock_timeout = max(min(conf.lock_timeout(), ticket.deadline - time.time()), 1.0)
        try:
            self._work = self._resource.begin(
                gid=self._gid, batch=ticket.batch, branch=ticket.number, ask=not self._first, lock_timeout=lock_timeout
            )
        except CannotBegin as error:
            self._error = NotPrepared(words=str(error))
            self._attempt.failed(failure_of(error))
            return self._attempt.undone(self._ask_again())
        except ResourceError as error:
            raise put_off(self._task, error, again=not self._first) from error
        self._found = self._work.found
        step = self._attempt.begin(found=[f.gid for f in self._found], over=self._over())
        if not isinstance(step, Run):
            self._undo()
        return step

    def _next(self, step: Step) -> Step:
        match step:
            case Run():
                item = StartedItem(branch=self._ticket.number, token=self._token, retries=self._retries)
                # Delivered again, it may have killed its process, and may do so within a millisecond. It is counted by
                # its starts, so this one must not be lost with the process. A process that replaces a dead one has not
                # heard which batches are over: without the wait it would die of this task for ever, each time anew.
                self._agent.started(self.batch, item, wait=STARTED_SECONDS if self._redelivered else 0)
                if self._redelivered and self._agent.hears_over(self.batch, ANSWER_SECONDS):
                    self._undo()
                    return self._attempt.begin(found=(), over=True)
                crashpoints.reach(Point.STARTED)
                return self._body()
            case Prepare():
                return self._prepare()
            case LookUp():
                return self._attempt.looked_up(self._resource.look_up(self._gid, self._proof))
            case Undo():
                self._undo()
                return self._attempt.undone(self._ask_again())
        raise AssertionError(f"{step} is none of the steps")

    def _body(self) -> Step:
        work, began = self._work, time.perf_counter()
        assert work is not None
        try:
            try:
                with running(self._ticket), Guard(self._ticket.alias) as guard:
                    self._limit.lift()
                    self._value = self._task.run(self._ticket.alias, *self._args, **self._kwargs)
            finally:
                self._limit.impose()
        except Exception as raised:
            self._error = error = kept_if_unsent(raised)
            if isinstance(error, Retry) or (isinstance(error, Reject) and error.requeue):
                return self._attempt.retried()
            self._measure("work_ms", began)
            return self._attempt.failed(failure_of(error, after=work.explain(error)), over=self._over())
        self._measure("work_ms", began)
        problem = work.problem()
        if guard.refused is not None:
            problem = failure_of(guard.refused, before="the task went on after this was refused: ")
        if problem is not None:
            self._error = NotPrepared(words=problem.message)
            return self._attempt.failed(problem, over=self._over())
        self._proof = work.proof
        step = self._attempt.worked(wrote=work.wrote(), over=self._over())
        if isinstance(step, VoteCommit):  # It wrote nothing: there is nothing to keep.
            self._undo()
        return step

    def _over(self) -> bool:
        return self._agent.is_over(self.batch)

    def _prepare(self) -> Step:
        work, began = self._work, time.perf_counter()
        assert work is not None
        self._evidence["rows"] = work.rows
        crashpoints.reach(Point.PREPARING)
        result, failure = work.prepare()
        crashpoints.reach(Point.PREPARED)
        self._measure("prepare_ms", began)
        step = self._attempt.prepared(result, failure)
        if not isinstance(step, Undo):
            self._release()
        elif failure is not None:
            self._error = NotPrepared(words=failure.message)
        return step

    def _undo(self) -> None:
        if self._work is not None:
            self._work.undo()
            self._release()

    def _release(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.release()

    def _ask_again(self) -> Sequence[str] | None:
        """Gids of this branch that are prepared, asked before voting ``ROLLBACK``; None if that cannot be known."""
        for pause in (0.2, 0.5, 1.0, None):
            try:
                self._found = self._resource.prepared_of(self.batch, self._ticket.number)
                return [found.gid for found in self._found]
            except ResourceError:
                if pause is not None:
                    time.sleep(pause)
        # The first execution of its branch has nobody before it who could have prepared: its vote need not wait
        # until the database is back, or the deadline.
        return () if self._first else None

    def _end(self, step: VoteCommit | VoteRollback | Silent) -> Any:
        """Hand the vote over, and tell Celery how this task run ended."""
        match step:
            case VoteCommit(found=True):
                items = []
                for found in self._found:
                    parts = gids.parse(found.gid)
                    if parts is not None and found.gid in step.gids:
                        items.append(vote_for(found, branch=parts.branch, round=parts.round))
                self._agent.vote(self.batch, items)
                raise Ignore("an earlier run of this task has done its work")
            case VoteCommit():
                kind = Kind.READ_ONLY if step.read_only else self._resource.kind
                self._agent.vote(self.batch, [self._item(Decision.COMMIT, kind)])
                crashpoints.reach(Point.VOTED)
                return self._value
            case VoteRollback():
                self._agent.vote(self.batch, [self._item(Decision.ROLLBACK, Kind.TWO_PHASE, step.failure)])
                assert self._error is not None
                raise self._error
            case Silent() if isinstance(self._error, Retry | Reject):
                raise self._error
            case Silent() if self._over():
                raise Dropped(step.why, self.batch.hex)
            case Silent():
                raise put_off(self._task, ResourceError(step.why), again=True)

    def _item(self, vote: Decision, kind: Kind, error: Failure | None = None) -> VoteItem:
        return VoteItem(
            vote=vote, gid=self._gid, members=(self._ticket.number,), round=0, alias=self._ticket.alias, kind=kind,
            proof=self._proof if vote is Decision.COMMIT else None, evidence=self._evidence or None, error=error,
        )  # fmt: skip

    def _measure(self, name: str, began: float) -> None:
        self._evidence[name] = round((time.perf_counter() - began) * 1000, 1)
