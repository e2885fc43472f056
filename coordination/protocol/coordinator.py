"""The deciding side of one batch, pure. Its driver feeds inputs in and carries effects out.

The rules (numbers are those of ``docs/design.md``, *The protocol*), and the module that keeps each:

1.  One decision per batch. ``COMMIT`` only when every branch has an adopted gid, stored in one write with every
    adoption not yet stored (:mod:`.deciding`). Once a verdict is reached, all other inputs wait for that write's
    result (here).
2.  Write ahead. Facts are numbered by the write that stores them; an effect that rests on a fact is released by
    :meth:`Coordinator.written` for that number and by nothing else. One write is outstanding at a time
    (:mod:`.write_ahead`).
3.  The first ``COMMIT`` vote adopts its gid for all branches it covers or for none; every other gid is refused.
4.  A ``ROLLBACK`` vote for a branch without an adopted gid decides; for one with an adopted gid it is ignored.
5.  ``withdrawn`` counts for the adopted gid, or while its branch has none.
6.  A vote after the decision is answered from stored facts, for its gid.
7.  Duplicates and stale messages have no second effect. A receipt is released when what it rests on is stored
    (3 to 7: :mod:`.voting`).
8.  Deadline and cancel decide ``ROLLBACK`` before the decision and change nothing after it (here; what is missing
    at the deadline: :mod:`.deciding`).
9.  A decided batch is repeated until every adopted gid is finished; only ``resolved`` of that gid finishes it,
10. or a person's declaration, for a database that is gone for good. One that differs from the decision, and *lost*,
    end the batch ``MIXED``. Nothing is declared before the decision, and nothing that is finished
    (9 and 10: :mod:`.finishing`).

A write whose result is unknown, or that touched no row, ends this coordinator (:class:`StepDown`): whoever goes on
reads the journal first, which waits for what is still in flight there. So nothing is ever guessed.

These modules share one :class:`.memory.BatchMemory` and one :class:`.write_ahead.WriteAhead`. Which tasks are sent, and
sent again, is :mod:`.dispatching`'s matter; how reasons are worded, that of :mod:`.reasons`.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from .deciding import Deciding
from .dispatching import Dispatching
from .effects import Acknowledge, Effect, Ended, Receipt, TellAll
from .finishing import Finishing
from .memory import BatchMemory, Branch
from .messages import Held, Inquire, Resolved, Started, ToManager, Votes, Withdrawn
from .states import BATCH_ENDED, BatchState, BranchState, Decision, Declared
from .stored import Snapshot, Write, WriteResult
from .voting import Voting
from .write_ahead import WriteAhead


class Coordinator:
    """State machine of one batch. Inputs are its public methods; :meth:`effects` hands out what to do.

    The driver asks :meth:`next_write` after each input (at once if ``urgent``, else within 100 ms), carries the
    write out and says :meth:`written`. Time is the driver's.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._batch = BatchMemory(snapshot)
        self._ahead = WriteAhead()
        self._dispatching = Dispatching(self._batch, self._ahead)
        self._deciding = Deciding(self._batch, self._ahead)
        self._finishing = Finishing(self._batch, self._ahead)
        self._voting = Voting(self._batch, self._ahead, self._deciding, self._finishing)
        self._waiting: deque[Callable[[], None]] = deque()
        """Inputs that came after a verdict and wait until it is stored."""
        self._handlers: dict[type, Callable[[str, Any], int]] = {
            Started: self._voting.started,
            Votes: self._voting.vote,
            Withdrawn: self._voting.withdrawn,
            Resolved: self._finishing.resolved,
        }

    # --- inputs: the life of a batch --------------------------------------------------------------------------

    def admit(self) -> None:
        """The batch fits: make it ACTIVE. Its tasks are dispatched when that is stored."""
        if self.state is not BatchState.PENDING or self._deciding.verdict:
            return
        self._ahead.turn(BatchState.ACTIVE)
        self._ahead.hurry()

    def refuse(self, reason: str) -> None:
        """The batch can never run (admission), or waited too long: it ends before any task ran."""
        self._before_the_decision(lambda: self._deciding.decide(Decision.ROLLBACK, reason))

    def resume(self) -> None:
        """Go on after a takeover, or after the batch's queue was found lost: ask, or announce again."""
        if self.state in BATCH_ENDED:
            self._ahead.emit(Ended(state=self.state))
        elif self.decision is not None:
            self._finishing.announce()
            self._finishing.end_if_finished()
        elif self.state is BatchState.ACTIVE:
            self._ahead.emit(TellAll(message=Inquire(batch=self.batch)))
            self._deciding.decide_if_complete()

    def redispatch(self, *, wiped: bool = False) -> None:
        """Answers to ``inquire`` are in: send again what is neither started nor stored as sent.

        ``wiped``: the broker lost its messages, so having been sent proves nothing.
        """
        if self._deciding.undecided:
            self._dispatching.unsent(wiped=wiped)

    def process_gone(self, process: str) -> None:
        """``process`` has no mailbox any more: what ran there unvoted runs again elsewhere."""
        if self._deciding.undecided:
            self._dispatching.process_gone(process)

    def sent(self, branches: Iterable[int]) -> None:
        """The broker confirmed the task messages of ``branches``."""
        self._dispatching.sent(branches)

    def deadline_passed(self) -> None:
        """Decide ``ROLLBACK``, unless decided. The reason says what is missing.

        Nothing is missing when all are prepared and only their holders are still asked: they have two seconds.
        """
        self._before_the_decision(self._deciding.deadline_passed)

    def holders_silent(self) -> None:
        """Two seconds have passed since :class:`AwaitHolders`: silence counts as withdrawn."""
        self._deciding.holders_silent()

    def repeat(self) -> None:
        """Say again what is decided and not finished; from the second time on to any agent as well."""
        self._finishing.repeat()

    # --- inputs: what people request --------------------------------------------------------------------------

    def cancel(self, request: int, reason: str) -> None:
        """An operator's request (its id), carried out or answered in the write that it leads to."""

        def cancel() -> None:
            if self.decision is not None:
                self._ahead.answer(request, f"Too late: the batch had already decided {self.decision}")
            else:
                self._ahead.answer(request, "Cancelled")
                self._deciding.decide(Decision.ROLLBACK, reason)

        self._when_no_verdict(cancel)

    def declare(self, request: int, numbers: Sequence[int], fate: Declared, how: str) -> None:
        """An approver's word (their request's id) on what became of tasks whose database is gone for good.

        ``how`` says in words who declares it and why. Tasks that are finished stay as they are.
        """
        self._when_no_verdict(lambda: self._ahead.answer(request, self._finishing.declared(numbers, fate, how)))

    def answer(self, request: int, words: str) -> None:
        """A person's request (its id) that leads to nothing; ``words`` say why."""
        self._when_no_verdict(lambda: self._ahead.answer(request, words))

    def ask_again(self, request: int) -> None:
        """An operator's request (its id) to say now, and to any agent, what is decided and not finished."""
        self._when_no_verdict(lambda: self._ahead.answer(request, self._finishing.ask_again()))

    # --- inputs: messages -------------------------------------------------------------------------------------

    def receive(self, message: ToManager, receipt: Receipt) -> None:
        """A message from an agent or a sweep. ``receipt`` comes back in :class:`Acknowledge` when it may."""
        deciding = self._deciding
        if deciding.verdict:
            self._waiting.append(lambda: self.receive(message, receipt))
            return
        if isinstance(message, Held):
            deciding.held(message)
            self._ahead.emit(Acknowledge(receipts=(receipt,)))
            return
        handle = self._handlers[type(message)]
        rests_on = 0
        for index, item in enumerate(message.items):
            if deciding.verdict:
                rest: ToManager = replace(message, items=message.items[index:])
                self._waiting.append(partial(self.receive, rest, receipt))
                return
            rests_on = max(rests_on, handle(message.process, item))
        self._ahead.when(rests_on, Acknowledge(receipts=(receipt,)))

    # --- a verdict makes inputs wait --------------------------------------------------------------------------

    def _when_no_verdict(self, act: Callable[[], None]) -> None:
        """Rule 1: ``act`` now, or after the write of a verdict."""
        if self._deciding.verdict:
            self._waiting.append(partial(self._when_no_verdict, act))
        else:
            act()

    def _before_the_decision(self, act: Callable[[], None]) -> None:
        """Rule 8: the same for what changes nothing after the decision."""
        self._when_no_verdict(lambda: None if self.decision is not None else act())

    def _replay(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for again in waiting:
            again()

    # --- writes -----------------------------------------------------------------------------------------------

    @property
    def urgent(self) -> bool:
        """The next write should not wait for company."""
        return self._ahead.urgent

    @property
    def writable(self) -> bool:
        """There is something to write and nothing outstanding."""
        return self._ahead.free and (self._deciding.verdict is not None or self._ahead.wanted)

    def next_write(self) -> Write | None:
        """What to store now, or None. Counts as outstanding until :meth:`written`."""
        if not self.writable:
            return None
        if self._deciding.verdict:
            self._deciding.put(*self._deciding.verdict)
        return self._ahead.take()

    def written(self, result: WriteResult) -> None:
        """The outstanding write ended so. ``STORED`` releases what rests on it; anything else ends this coordinator."""
        write = self._ahead.answered(result)
        if write is None:
            return
        if write.state is not None:
            self._batch.state = write.state
        if write.state is BatchState.ACTIVE and not self._deciding.verdict:
            self._dispatching.all()
            self._deciding.decide_if_complete()
        self._ahead.release(write.number)
        if write.decision is not None:
            self._deciding.stored(write)
            self._finishing.announce()
            self._replay()
        if write.state in BATCH_ENDED:
            self._ahead.emit(Ended(state=self.state))

    def effects(self) -> list[Effect]:
        """What to carry out, in this order; handed out once."""
        return self._ahead.effects()

    # --- what others want to know -----------------------------------------------------------------------------

    @property
    def batch(self) -> UUID:
        """The batch's id."""
        return self._batch.id

    @property
    def state(self) -> BatchState:
        """The batch's state, as stored."""
        return self._batch.state

    @property
    def decision(self) -> Decision | None:
        """The decision, once it is stored."""
        return self._batch.decision

    @property
    def branches(self) -> Mapping[int, Branch]:
        """Branches by number, as the next write will leave them."""
        return self._batch.branches

    @property
    def ignored(self) -> Mapping[str, int]:
        """How many duplicates and stale messages came, by what they were."""
        return self._batch.ignored

    @property
    def unfinished(self) -> bool:
        """Decided, and some adopted gid is not known to be finished."""
        return self._finishing.unfinished

    @property
    def waits_for_workers(self) -> bool:
        """Undecided, and some branches are with no process."""
        return self._deciding.undecided and self._dispatching.waits_for_workers()

    def running_on(self) -> set[str]:
        """Processes that run branches which have not voted: worth asking whether they still live."""
        return self._dispatching.running_on()

    def counts(self) -> dict[BranchState, int]:
        """Branches by state, as the next write will leave them."""
        return Counter(b.state for b in self._batch.branches.values())
