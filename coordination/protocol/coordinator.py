"""The deciding side of one batch, pure. Its driver feeds inputs in and carries effects out.

The rules (numbers are those of ``docs/design.md``, *The protocol*):

1.  One decision per batch. ``COMMIT`` only when every branch has an adopted gid, stored in one write with every
    adoption not yet stored. Once a verdict is reached, all other inputs wait for that write's result.
2.  Write ahead. Facts are numbered by the write that stores them; an effect that rests on a fact is released by
    :meth:`Coordinator.written` for that number and by nothing else. One write is outstanding at a time.
3.  The first ``COMMIT`` vote adopts its gid for all branches it covers or for none; every other gid is refused.
4.  A ``ROLLBACK`` vote for a branch without an adopted gid decides; for one with an adopted gid it is ignored.
5.  ``withdrawn`` counts for the adopted gid, or while its branch has none.
6.  A vote after the decision is answered from stored facts, for its gid.
7.  Duplicates and stale messages have no second effect. A receipt is released when what it rests on is stored.
8.  Deadline and cancel decide ``ROLLBACK`` before the decision and change nothing after it.
9.  A decided batch is repeated until every adopted gid is finished; only ``resolved`` of that gid finishes it,
10. or a person's declaration, for a database that is gone for good. One that differs from the decision, and *lost*,
    end the batch ``MIXED``. Nothing is declared before the decision, and nothing that is finished.

A write whose result is unknown, or that touched no row, ends this coordinator (:class:`StepDown`): whoever goes on
reads the journal first, which waits for what is still in flight there. So nothing is ever guessed.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from . import gid as gids
from .effects import Acknowledge, AwaitHolders, Dispatch, Effect, Ended, Receipt, Recover, StepDown, Tell, TellAll
from .messages import (
    MAX_REASON,
    Decided,
    Failure,
    Held,
    Inquire,
    Order,
    OrderItem,
    Resolved,
    ResolvedItem,
    Started,
    StartedItem,
    StillHeld,
    Stop,
    ToManager,
    VoteItem,
    Votes,
    Withdrawn,
    WithdrawnItem,
    cut,
)
from .states import BATCH_ENDED, BRANCH_ENDED, CONTRADICTED, BatchState, BranchState, Decision, Declared, Kind, Outcome
from .stored import AttemptChange, BranchChange, Snapshot, StoredBranch, Write, WriteResult

CHUNK = 500
"""Gids in one announcement or order, branches in one dispatch."""
MAX_STARTS = 3
"""The start of a branch, with the same Celery ``retries`` and no vote before it, that counts as a ``ROLLBACK``."""


class Branch:
    """A branch in memory. ``adopted_in`` and ``finished_in`` are the numbers of the writes that store those facts."""

    __slots__ = (
        "adopted_in",
        "alias",
        "finished_in",
        "gid",
        "kind",
        "number",
        "process",
        "proof",
        "round",
        "sent",
        "starts",
        "state",
        "tokens",
    )  # fmt: skip

    def __init__(self, stored: StoredBranch) -> None:
        self.number, self.alias, self.state, self.sent = stored.number, stored.alias, stored.state, stored.sent
        self.round, self.gid, self.kind, self.proof = stored.round, stored.gid, stored.kind, stored.proof
        self.process = stored.process
        self.adopted_in = self.finished_in = 0
        self.tokens: set[str] = set()
        self.starts: Counter[int] = Counter()

    @property
    def finished(self) -> bool:
        return self.state in BRANCH_ENDED


class Coordinator:
    """State machine of one batch. Inputs are its public methods; :meth:`effects` hands out what to do.

    The driver asks :meth:`next_write` after each input (at once if ``urgent``, else within 100 ms), carries the
    write out and says :meth:`written`. Time is the driver's.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.batch = snapshot.batch
        self.state = snapshot.state
        self.decision = snapshot.decision
        self.reason = ""
        self.branches = {b.number: Branch(b) for b in snapshot.branches}
        for attempt in snapshot.attempts:
            branch = self.branches[attempt.branch]
            branch.tokens.add(attempt.token)
            branch.starts[attempt.retries] += 1
        self.ignored: Counter[str] = Counter()
        """Duplicates and stale messages by what they were: normal, and worth a look when many."""
        self._unadopted = sum(b.gid is None for b in self.branches.values())
        self._unfinished = {b.number for b in self.branches.values() if b.gid is not None and not b.finished}
        self._by_gid: dict[str, list[Branch]] = defaultdict(list)
        for branch in self.branches.values():
            if branch.gid is not None:
                self._by_gid[branch.gid].append(branch)
        self._next = Write(number=1)
        self._outstanding: Write | None = None
        self._done = 0
        self._after: dict[int, list[Effect]] = defaultdict(list)
        self._verdict: tuple[Decision, str] | None = None
        self._waiting: deque[Callable[[], None]] = deque()
        self._holders: set[str] | None = None
        self._present: set[str] = set()
        self._repeats = 0
        self._stepped_down = False
        self._effects: list[Effect] = []
        self._handlers: dict[type, Callable[[str, Any], int]] = {
            Started: self._started,
            Votes: self._vote,
            Withdrawn: self._withdrawn,
            Resolved: self._resolved,
        }

    # --- inputs: the life of a batch --------------------------------------------------------------------------

    def admit(self) -> None:
        """The batch fits: make it ACTIVE. Its tasks are dispatched when that is stored."""
        if self.state is not BatchState.PENDING or self._verdict:
            return
        self._turn(BatchState.ACTIVE)
        self._urgent()

    def refuse(self, reason: str) -> None:
        """The batch can never run (admission), or waited too long: it ends before any task ran."""
        self._decide_when_idle(lambda: self._verdict_of(Decision.ROLLBACK, reason))

    def resume(self) -> None:
        """Go on after a takeover, or after the batch's queue was found lost: ask, or announce again."""
        if self.state in BATCH_ENDED:
            self._emit(Ended(state=self.state))
        elif self.decision is not None:
            self._announce()
            self._end_if_finished()
        elif self.state is BatchState.ACTIVE:
            self._emit(TellAll(message=Inquire(batch=self.batch)))
            self._decide_if_complete()

    def redispatch(self, *, wiped: bool = False) -> None:
        """Answers to ``inquire`` are in: send again what is neither started nor stored as sent.

        ``wiped``: the broker lost its messages, so having been sent proves nothing.
        """
        if self._undecided():
            self._dispatch([b.number for b in self.branches.values() if self._unsent(b, wiped)], again=True)

    def process_gone(self, process: str) -> None:
        """``process`` has no mailbox any more: what ran there unvoted runs again elsewhere."""
        if self._undecided():
            lost = [b.number for b in self.branches.values() if b.state is BranchState.RUNNING and b.process == process]
            if lost:
                for number in lost:
                    self._change(self.branches[number], process="")
                    self.branches[number].process = ""
                self._note(f"Worker process {process} is gone; {len(lost)} of its tasks sent again")
                self._dispatch(lost, again=True)

    def sent(self, branches: Iterable[int]) -> None:
        """The broker confirmed the task messages of ``branches``."""
        for number in branches:
            self.branches[number].sent = True
            self._change(self.branches[number], sent=True)

    def deadline_passed(self) -> None:
        """Decide ``ROLLBACK``, unless decided. The reason says what is missing.

        Nothing is missing when all are prepared and only their holders are still asked: they have two seconds.
        """

        def decide() -> None:
            if self._unadopted or self.state is not BatchState.ACTIVE:
                self._verdict_of(Decision.ROLLBACK, self._deadline_reason())
            else:
                self._decide_if_complete()

        self._decide_when_idle(decide)

    def cancel(self, request: int, reason: str) -> None:
        """An operator's request (its id), carried out or answered in the write that it leads to."""

        def decide() -> None:
            if self.decision is not None:
                self._next.requests[request] = f"Too late: the batch had already decided {self.decision}"
            else:
                self._next.requests[request] = "Cancelled"
                self._verdict_of(Decision.ROLLBACK, reason)
            self._urgent()

        self._decide_when_idle(decide, even_if_decided=True)

    def declare(self, request: int, numbers: Sequence[int], fate: Declared, how: str) -> None:
        """An approver's word (their request's id) on what became of tasks whose database is gone for good.

        ``how`` says in words who declares it and why. Tasks that are finished stay as they are.
        """

        def declare() -> None:
            self._next.requests[request] = self._declared(numbers, fate, how)
            self._urgent()

        self._decide_when_idle(declare, even_if_decided=True)

    def answer(self, request: int, words: str) -> None:
        """A person's request (its id) that leads to nothing; ``words`` say why."""

        def answer() -> None:
            self._next.requests[request] = words
            self._urgent()

        self._decide_when_idle(answer, even_if_decided=True)

    def ask_again(self, request: int) -> None:
        """An operator's request (its id) to say now, and to any agent, what is decided and not finished."""

        def again() -> None:
            self._repeats = max(self._repeats, 1)
            self.repeat()
            left = f"Asked again what became of {_counted(len(self._unfinished))}"
            self._next.requests[request] = left if self.unfinished else "There is nothing to ask for"
            self._urgent()

        self._decide_when_idle(again, even_if_decided=True)

    def receive(self, message: ToManager, receipt: Receipt) -> None:
        """A message from an agent or a sweep. ``receipt`` comes back in :class:`Acknowledge` when it may."""
        if self._verdict:
            self._waiting.append(lambda: self.receive(message, receipt))
            return
        if isinstance(message, Held):
            self._held(message)
            self._emit(Acknowledge(receipts=(receipt,)))
            return
        handle: Callable[[str, Any], int] = self._handlers[type(message)]
        rests_on = 0
        for index, item in enumerate(message.items):
            if self._verdict:
                rest: ToManager = replace(message, items=message.items[index:])
                self._waiting.append(partial(self.receive, rest, receipt))
                return
            rests_on = max(rests_on, handle(message.process, item))
        self._when(rests_on, Acknowledge(receipts=(receipt,)))

    def holders_silent(self) -> None:
        """Two seconds have passed since :class:`AwaitHolders`: silence counts as withdrawn."""
        if self._holders and self._undecided() and not self._verdict:
            silent = sorted(self._holders)
            self._holders = None
            self._verdict_of(Decision.ROLLBACK, f"Worker process {silent[0]} no longer answers for what it holds")

    def repeat(self) -> None:
        """Say again what is decided and not finished; from the second time on to any agent as well.

        Of a promise that lives in one process another agent can only find the proof of how it ended: that is what
        ends a batch whose holder died.
        """
        if self.decision is None or not self._unfinished:
            return
        self._repeats += 1
        for process, items in self._orders_by(lambda b: b.process):
            self._emit(Tell(process=process, message=Order(batch=self.batch, items=items)))
        if self._repeats >= 2:
            for alias, items in self._orders_by(lambda b: b.alias):
                self._emit(Recover(alias=alias, message=Order(batch=self.batch, items=items)))

    # --- writes -----------------------------------------------------------------------------------------------

    @property
    def urgent(self) -> bool:
        """The next write should not wait for company."""
        return self._next.urgent and self._outstanding is None

    @property
    def writable(self) -> bool:
        """There is something to write and nothing outstanding."""
        return (
            self._outstanding is None
            and not self._stepped_down
            and (bool(self._next) or self._verdict is not None or bool(self._after.get(self._next.number)))
        )

    def next_write(self) -> Write | None:
        """What to store now, or None. Counts as outstanding until :meth:`written`."""
        if not self.writable:
            return None
        write = self._next
        if self._verdict:
            self._put_decision(write, *self._verdict)
        self._outstanding, self._next = write, Write(number=write.number + 1)
        return write

    def written(self, result: WriteResult) -> None:
        """The outstanding write ended so. ``STORED`` releases what rests on it; anything else ends this coordinator."""
        write = self._outstanding
        if write is None:
            raise RuntimeError("no write is outstanding")
        if result is not WriteResult.STORED:
            untouched = result is WriteResult.UNTOUCHED
            why = "another node manages this batch" if untouched else "the journal did not answer"
            self._effects.clear()
            self._emit(StepDown(reclaim=not untouched, why=why))
            self._stepped_down = True
            return
        self._outstanding, self._done = None, write.number
        if write.state is not None:
            self.state = write.state
        if write.state is BatchState.ACTIVE and not self._verdict:
            self._dispatch([b.number for b in self.branches.values() if b.gid is None], again=False)
            self._decide_if_complete()
        self._effects.extend(self._after.pop(write.number, ()))
        if write.decision is not None:
            self._decision_logged(write)
        if write.state in BATCH_ENDED:
            self._emit(Ended(state=self.state))

    def effects(self) -> list[Effect]:
        """What to carry out, in this order; handed out once."""
        effects, self._effects = self._effects, []
        return effects

    # --- what others want to know -----------------------------------------------------------------------------

    @property
    def unfinished(self) -> bool:
        """Decided, and some adopted gid is not known to be finished."""
        return self.decision is not None and bool(self._unfinished)

    @property
    def waits_for_workers(self) -> bool:
        """Undecided, and some branches are with no process."""
        return self._undecided() and any(b.gid is None and not b.process for b in self.branches.values())

    def running_on(self) -> set[str]:
        """Processes that run branches which have not voted: worth asking whether they still live."""
        return {b.process for b in self.branches.values() if b.state is BranchState.RUNNING and b.process}

    def counts(self) -> dict[BranchState, int]:
        """Branches by state, as the next write will leave them."""
        return Counter(b.state for b in self.branches.values())

    # --- votes and their kin: each returns the number of the write its receipt rests on ------------------------

    def _started(self, process: str, item: StartedItem) -> int:
        branch = self.branches.get(item.branch)
        if branch is None:
            return self._ignore("started of no such task")
        if self.decision is not None:
            self._emit(Tell(process=process, message=Stop(batch=self.batch)))
            return self._ignore("started after the decision")
        if item.token in branch.tokens:
            return self._next.number if bool(self._next) else self._in_flight()
        branch.tokens.add(item.token)
        branch.starts[item.retries] += 1
        self._attempt(branch.number, item.token, process, retries=item.retries)
        if branch.gid is None:
            branch.process = process
            branch.state = BranchState.RUNNING
            self._change(branch, state=BranchState.RUNNING, process=process, started=True)
            if branch.starts[item.retries] >= MAX_STARTS:
                self._worker_died(branch)
        return self._next.number

    def _vote(self, process: str, item: VoteItem) -> int:
        numbers = dict.fromkeys(item.members)  # A branch named twice is one branch.
        members = [self.branches[n] for n in numbers if n in self.branches]
        if len(members) != len(numbers) or not members:
            return self._ignore("vote of no such task")
        if self.decision is not None:
            self._answer(process, item)
            return self._ignore("vote after the decision")
        if item.vote is Decision.ROLLBACK:
            return self._vote_rollback(process, item, members)
        if again := self._by_gid.get(item.gid):
            # Whichever branches this vote names: an adopted gid is never refused.
            return self._ignore("vote again", rests_on=max(b.adopted_in for b in again))
        adopted = [b for b in members if b.gid is not None]
        stale = [b for b in members if item.round < b.round]
        if adopted or stale:
            rests_on = max((b.adopted_in for b in adopted), default=0)
            self._refuse(process, item, rests_on)
            return self._ignore("vote refused", rests_on=rests_on)
        self._adopt(process, item, members)
        self._decide_if_complete()
        return self._next.number

    def _adopt(self, process: str, item: VoteItem, members: list[Branch]) -> None:
        for branch in members:
            branch.gid, branch.kind, branch.proof = item.gid, item.kind, item.proof
            branch.process, branch.state, branch.round = process, BranchState.PREPARED, item.round
            branch.adopted_in = self._next.number
            self._change(
                branch, state=BranchState.PREPARED, process=process, gid=item.gid, kind=item.kind, proof=item.proof,
                round=item.round, evidence=item.evidence, started=True,
            )  # fmt: skip
            self._attempt_voted(branch, process, item)
        self._by_gid[item.gid] = members
        self._unadopted -= len(members)
        self._unfinished.update(b.number for b in members)

    def _vote_rollback(self, process: str, item: VoteItem, members: list[Branch]) -> int:
        free = [b for b in members if b.gid is None]
        if not free:
            return self._ignore("rollback vote of a prepared task", rests_on=max(b.adopted_in for b in members))
        for branch in free:
            self._attempt_voted(branch, process, item)
            self._fail(branch, item.error or Failure(type="", message="voted to roll back"), evidence=item.evidence)
        first = free[0]
        failure = item.error
        words = f"{failure.type}: {failure.message}" if failure else "it voted to roll back"
        self._verdict_of(Decision.ROLLBACK, f"Task {first.number} of {len(self.branches):,} failed: {words}")
        return self._next.number

    def _refuse(self, process: str, item: VoteItem, rests_on: int) -> None:
        if item.kind is not Kind.READ_ONLY:
            self._when(rests_on, self._order_to(process, item, Decision.ROLLBACK))

    def _answer(self, process: str, item: VoteItem) -> None:
        """Rule 6: a vote after the decision. Nothing prepared hangs on a ``ROLLBACK`` vote or a read-only one."""
        if item.vote is Decision.ROLLBACK or item.kind is Kind.READ_ONLY:
            return
        adopted = self._by_gid.get(item.gid)
        if adopted and all(b.finished for b in adopted):
            return  # Finished, and that may not be stored yet; if it is not true the next vote is answered again.
        outcome = self.decision if adopted else Decision.ROLLBACK
        assert outcome is not None
        self._emit(self._order_to(process, item, outcome))

    def _order_to(self, process: str, item: VoteItem, outcome: Decision) -> Tell:
        order = OrderItem(gid=item.gid, outcome=outcome, alias=item.alias, proof=item.proof)
        return Tell(process=process, message=Order(batch=self.batch, items=(order,)))

    def _withdrawn(self, process: str, item: WithdrawnItem) -> int:
        parts = gids.parse(item.gid)
        branch = self.branches.get(parts.branch) if parts else None
        if branch is None:
            return self._ignore("withdrawal of no such task")
        if branch.gid is not None and branch.gid != item.gid:
            return self._ignore("withdrawal of another attempt", rests_on=branch.adopted_in)
        members = self._by_gid.get(item.gid) or [branch]
        if self.decision is None:
            reason = f"Task {branch.number} of {len(self.branches):,} was lost: {item.reason}"
            self._verdict_of(Decision.ROLLBACK, reason)
            if branch.gid is None:
                self._fail(branch, Failure(type="", message=item.reason))
            return self._next.number
        if branch.gid is None:
            return self._ignore("withdrawal after the decision")
        for member in members:
            self._finish(member, Outcome.ROLLED_BACK, item.reason)
        self._end_if_finished()
        return max(b.finished_in for b in members)

    def _resolved(self, process: str, item: ResolvedItem) -> int:
        members = self._by_gid.get(item.gid)
        if self.decision is None or not members:
            return self._ignore("report of a gid that is not adopted")
        if item.outcome is Outcome.UNKNOWN:
            return self._ignore("fate unknown")
        for branch in members:
            self._finish(branch, item.outcome, item.how)
        self._end_if_finished()
        return max(b.finished_in for b in members)

    def _held(self, message: Held) -> None:
        if self._holders is None or self.decision is not None:
            return
        self._present.update(message.gids)
        mine = {b.gid for b in self.branches.values() if b.kind is Kind.HELD and b.process == message.process}
        self._holders.discard(message.process)
        if gone := mine - self._present:
            self._holders = None
            numbers = sorted(b.number for b in self.branches.values() if b.gid in gone)
            self._verdict_of(
                Decision.ROLLBACK, f"Task {numbers[0]} of {len(self.branches):,} is no longer held by its worker"
            )
        elif not self._holders:
            self._verdict_of(Decision.COMMIT, "")

    # --- deciding -----------------------------------------------------------------------------------------------

    def _decide_if_complete(self) -> None:
        if self._unadopted or self._verdict or not self._undecided() or self._holders is not None:
            return
        held: dict[str, list[str]] = defaultdict(list)
        for branch in self.branches.values():
            if branch.kind is Kind.HELD and branch.gid:
                held[branch.process].append(branch.gid)
        if not held:
            self._verdict_of(Decision.COMMIT, "")
            return
        self._holders, self._present = set(held), set()
        for process, names in held.items():
            self._emit(Tell(process=process, message=StillHeld(batch=self.batch, gids=tuple(names))))
        self._emit(AwaitHolders())

    def _decide_when_idle(self, decide: Callable[[], None], *, even_if_decided: bool = False) -> None:
        if self._verdict:
            self._waiting.append(lambda: self._decide_when_idle(decide, even_if_decided=even_if_decided))
        elif self.decision is None or even_if_decided:
            decide()

    def _verdict_of(self, decision: Decision, reason: str) -> None:
        """Rule 1: from here on every input waits; :meth:`next_write` turns the verdict into the decision's write."""
        if self._verdict is None:
            self._verdict = decision, cut(reason or self._commit_reason(), MAX_REASON)
            self._urgent()

    def _put_decision(self, write: Write, decision: Decision, reason: str) -> None:
        write.decision, write.reason = decision, reason
        write.entries.append(f"Decided {decision}: {reason}")
        for branch in self.branches.values():
            if branch.gid is None and not branch.finished:
                ran = branch.state is BranchState.RUNNING
                state = BranchState.ROLLED_BACK if ran else BranchState.NOT_RUN
                self._turn_branch(
                    branch, state, "Undone before it voted" if ran else "The batch was over before it ran"
                )
            elif branch.kind is Kind.READ_ONLY and branch.gid is not None:
                committed = decision is Decision.COMMIT
                self._turn_branch(
                    branch, BranchState.COMMITTED if committed else BranchState.ROLLED_BACK, "It wrote nothing"
                )
                self._unfinished.discard(branch.number)
        if self._unfinished:
            write.state = BatchState.COMMITTING if decision is Decision.COMMIT else BatchState.ROLLING_BACK
        else:
            write.state = BatchState.COMMITTED if decision is Decision.COMMIT else BatchState.ROLLED_BACK

    def _decision_logged(self, write: Write) -> None:
        self.decision, self.reason = write.decision, write.reason
        self._verdict = self._holders = None
        self._announce()
        waiting, self._waiting = self._waiting, deque()
        for replay in waiting:
            replay()

    def _announce(self) -> None:
        assert self.decision is not None
        if self.decision is Decision.COMMIT:
            for process, items in self._orders_by(lambda b: b.process, whole=True):
                parts = [items[i : i + CHUNK] for i in range(0, len(items), CHUNK)]
                for part, chunk in enumerate(parts, 1):
                    names = tuple(dict.fromkeys(item.gid for item in chunk))
                    message = Decided(batch=self.batch, outcome=self.decision, gids=names, part=part, of=len(parts))
                    self._emit(Tell(process=process, message=message))
        else:
            for process in sorted({b.process for b in self.branches.values() if b.process}):
                self._emit(Tell(process=process, message=Decided(batch=self.batch, outcome=self.decision, gids=())))
        self._emit(TellAll(message=Stop(batch=self.batch)))

    # --- finishing ----------------------------------------------------------------------------------------------

    def _finish(self, branch: Branch, outcome: Outcome, how: str) -> None:
        if branch.number not in self._unfinished:
            self._ignore("report again")
            return
        agrees = (outcome is Outcome.COMMITTED) == (self.decision is Decision.COMMIT)
        if outcome is Outcome.COMMITTED:
            state = BranchState.COMMITTED if agrees else BranchState.HEURISTIC_COMMIT
        else:
            state = BranchState.ROLLED_BACK if agrees else BranchState.HEURISTIC_ROLLBACK
        if not agrees:
            self._note(f"Task {branch.number} was {outcome.replace('_', ' ')} against the decision: {how}")
        self._close(branch, state, how)

    def _close(self, branch: Branch, state: BranchState, how: str) -> None:
        self._turn_branch(branch, state, how)
        branch.finished_in = self._next.number
        self._unfinished.discard(branch.number)

    def _declared(self, numbers: Sequence[int], fate: Declared, how: str) -> str:
        """Rule 10. What came of it, in words."""
        if self.decision is None:
            return "Refused: the batch is not decided. Cancel it instead"
        named = [self.branches[n] for n in sorted(set(numbers)) if n in self._unfinished]
        if not named:
            return "Nothing was declared: these tasks have ended"
        for branch in named:
            together = {b.number for b in self._by_gid[branch.gid or ""]}
            if not together.issubset(numbers):
                return f"Refused: tasks {_listed(sorted(together))} were prepared as one. Declare them together"
        for branch in named:
            if fate is Declared.LOST:
                self._close(branch, BranchState.LOST, how)
            else:
                self._finish(branch, Outcome(fate.value), how)
        tasks = f"{_counted(len(named))} ({_listed([b.number for b in named])})"
        self._note(f"{how} ({tasks})")
        self._end_if_finished()
        return f"Declared {fate.words}: {tasks}"

    def _end_if_finished(self) -> None:
        if self._unfinished or self.decision is None or self.state in BATCH_ENDED or self._next.state in BATCH_ENDED:
            return
        if any(b.state in CONTRADICTED for b in self.branches.values()):
            self._turn(BatchState.MIXED)
        else:
            self._turn(BatchState.COMMITTED if self.decision is Decision.COMMIT else BatchState.ROLLED_BACK)
        self._urgent()

    def _orders_by(
        self, key: Callable[[Branch], str], *, whole: bool = False
    ) -> list[tuple[str, tuple[OrderItem, ...]]]:
        """Orders for all unfinished gids, grouped by ``key``, in chunks unless ``whole``."""
        assert self.decision is not None
        groups: dict[str, dict[str, OrderItem]] = defaultdict(dict)
        for number in sorted(self._unfinished):
            b = self.branches[number]
            assert b.gid is not None
            groups[key(b)][b.gid] = OrderItem(gid=b.gid, outcome=self.decision, alias=b.alias, proof=b.proof)
        size = len(self.branches) if whole else CHUNK
        return [
            (name, items[i : i + size])
            for name, items in ((name, tuple(group.values())) for name, group in groups.items())
            for i in range(0, len(items), size)
        ]

    # --- small change -------------------------------------------------------------------------------------------

    def _undecided(self) -> bool:
        return self.decision is None and self.state is BatchState.ACTIVE and not self._stepped_down

    def _when(self, number: int, effect: Effect) -> None:
        """Rule 2: ``effect`` once write ``number`` is stored."""
        if number <= self._done:
            self._emit(effect)
        else:
            self._after[number].append(effect)

    def _in_flight(self) -> int:
        return self._outstanding.number if self._outstanding else 0

    def _emit(self, effect: Effect) -> None:
        if not self._stepped_down:  # A driver may still have a delivery to hand in before it carries that out.
            self._effects.append(effect)

    def _ignore(self, what: str, *, rests_on: int = 0) -> int:
        self.ignored[what] += 1
        return rests_on

    def _urgent(self) -> None:
        self._next.urgent = True

    def _note(self, entry: str) -> None:
        self._next.entries.append(entry)

    def _turn(self, state: BatchState) -> None:
        self._next.state = state

    def _turn_branch(self, branch: Branch, state: BranchState, how: str) -> None:
        branch.state = state
        self._change(branch, state=state, how=how)

    def _change(self, branch: Branch, **values: Any) -> None:
        write = self._next
        change = write.branches.setdefault(branch.number, BranchChange(number=branch.number))
        for name, value in values.items():
            setattr(change, name, value)

    def _attempt(self, branch: int, token: str, process: str, **values: Any) -> None:
        change = self._next.attempts.setdefault(
            (branch, token), AttemptChange(branch=branch, token=token, process=process)
        )
        for name, value in values.items():
            setattr(change, name, value)

    def _attempt_voted(self, branch: Branch, process: str, item: VoteItem) -> None:
        parts = gids.parse(item.gid)
        if parts is not None:
            self._attempt(branch.number, parts.token, process, vote=item.vote, error=item.error)

    def _fail(self, branch: Branch, failure: Failure, *, evidence: dict[str, Any] | None = None) -> None:
        branch.state = BranchState.FAILED
        self._change(branch, state=BranchState.FAILED, error=failure, evidence=evidence, started=True)

    def _worker_died(self, branch: Branch) -> None:
        message = (
            f"its worker died twice while running it, and it was started a {MAX_STARTS}rd time: "
            "look for memory, a hard time limit, a crash in native code, or RabbitMQ's consumer_timeout"
        )
        self._fail(branch, Failure(type="WorkerDied", message=message))
        self._verdict_of(Decision.ROLLBACK, f"Task {branch.number} of {len(self.branches):,} failed: {message}")

    @staticmethod
    def _unsent(branch: Branch, wiped: bool) -> bool:
        if branch.state is BranchState.RUNNING:
            return not branch.process  # Its process was found gone, and it may not have been sent since.
        return branch.state is BranchState.PENDING and (wiped or not branch.sent)

    def _dispatch(self, numbers: Sequence[int], *, again: bool) -> None:
        for i in range(0, len(numbers), CHUNK):
            self._emit(Dispatch(branches=tuple(numbers[i : i + CHUNK]), again=again))

    def _commit_reason(self) -> str:
        count = len(self.branches)
        return f"All {count:,} tasks voted to commit" if count > 1 else "Its only task voted to commit"

    def _deadline_reason(self) -> str:
        counts = self.counts()
        never = [b.number for b in self.branches.values() if b.state is BranchState.PENDING]
        prepared = counts.get(BranchState.PREPARED, 0)
        words = f"Deadline passed with {prepared:,} of {len(self.branches):,} tasks prepared"
        if running := [b.number for b in self.branches.values() if b.state is BranchState.RUNNING]:
            words += f"; still running: {_listed(running)}"
        if never:
            words += f"; never started: {_listed(never)}"
        return words


def _counted(tasks: int) -> str:
    return "1 task" if tasks == 1 else f"{tasks:,} tasks"


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10:,} more" if len(numbers) > 10 else shown
