"""One execution of a branch: the driver around :class:`coordination.protocol.attempt.Attempt`."""

from typing import TYPE_CHECKING

from coordination.protocol import gid as gids
from coordination.protocol.attempt import (
    LookUp,
    Prepare,
    Run,
    Silent,
    Step,
    Undo,
    VoteCommit,
    VoteRollback,
)
from coordination.protocol.messages import Failure, StartedItem, VoteItem
from coordination.protocol.states import Decision, Kind

from .bus import Task
from .databases import Transaction

if TYPE_CHECKING:
    from .worker import Worker


class Execution:
    """Runs one task; or several whose work shares one transaction, and so one gid."""

    def __init__(self, worker: "Worker", tasks: list[Task]) -> None:
        self.worker, self.world, self.tasks = worker, worker.world, tasks
        self.members = tuple(t.branch for t in tasks)
        self.retries = max(t.retries for t in tasks)
        self.first = not any(t.again or t.retries for t in tasks)
        """As in the product: what is certainly the first execution of its branch need not ask what is prepared."""
        self.alias = self.world.weather.aliases[self.members[0] - 1]
        self.kind = self.world.weather.kinds[self.alias]
        self.token = self.world.token()
        self.gid = gids.build(
            installation=self.world.installation, batch=self.world.batch, branch=self.members[0], round=0,
            token=self.token,
        )  # fmt: skip
        self.attempt = self.world.parts.attempt(self.gid)
        self.tx: Transaction | None = None
        self.put_off = False

    def begin(self) -> None:
        """Ask what is prepared, then run."""
        over = self.worker.holdings.is_over(self.world.batch)
        if self.world.weather.started_first:
            self._say_started(self.members)
        found = [] if self.first else self._found(self.members)
        covered = {m for tx in found for m in tx.members}
        rest = tuple(m for m in self.members if m not in covered)
        if found and rest:
            self._vote_for(found)
            found, self.members = [], rest
        self.take(self.attempt.begin(found=[tx.gid for tx in found], over=over))

    def take(self, step: Step) -> None:
        """Carry one step out; its result comes later."""
        op = self.world.op
        self.world.note(self.worker.name, f"branch {self.members} {self.gid[-6:]}: {type(step).__name__}")
        match step:
            case Run():
                self._run()
            case Prepare():
                op(self.worker, "prepare", self._prepare)
            case LookUp():
                op(self.worker, "look up", self._look_up)
            case Undo():
                op(self.worker, "undo", self._undo)
            case VoteCommit(found=True, gids=names):
                self._vote_for([self.world.databases.all[g] for g in names])
                self._end()
            case VoteCommit(read_only=read_only):
                self._vote_commit(read_only)
                self._end()
            case VoteRollback(failure=failure):
                self._vote_rollback(failure)
                self._end()
            case Silent():
                if not self.put_off and not self.worker.holdings.is_over(self.world.batch):
                    self._send_again(0)  # As the product does: put off, not given up.
                self._end()

    def _say_started(self, members: tuple[int, ...]) -> None:
        for branch in members:
            self.worker.start(StartedItem(branch=branch, token=self.token, retries=self.retries))

    def _run(self) -> None:
        weather, roll = self.world.weather, self.world.roll
        if not weather.started_first:
            self._say_started(self.members)
        self.tx = self.world.databases.begin(self.gid, self.alias, self.kind, self.members)
        if weather.hang and roll() < weather.hang:
            self.world.after(200 + roll() * 3000, self.worker, "hung body", self._body_ends)
        else:
            self.world.op(self.worker, "body", self._body_ends)

    def _body_ends(self) -> None:
        weather, roll = self.world.weather, self.world.roll
        over = self.worker.holdings.is_over(self.world.batch)
        if weather.failing.intersection(self.members) or (weather.flaky and roll() < weather.flaky):
            self.take(self.attempt.failed(Failure(type="ZeroDivisionError", message="division by zero")))
        elif weather.retry and self.retries < 2 and roll() < weather.retry:
            self._send_again(1)
            self.take(self.attempt.retried())
        else:
            wrote = not (weather.read_only and roll() < weather.read_only)
            self.take(self.attempt.worked(wrote=wrote, over=over))

    def _send_again(self, more_retries: int) -> None:
        self.put_off = True
        for task in self.tasks:
            self.world.bus.send_task(Task(task.branch, retries=task.retries + more_retries, again=True))

    def _prepare(self) -> None:
        assert self.tx is not None
        if self.kind is Kind.HELD:
            self.tx.parked, self.tx.holder = True, self.worker.name
            self._vote_commit(read_only=False)
            self._end()
        else:
            self.take(self.attempt.prepared(self.world.databases.try_prepare(self.tx)))

    def _look_up(self) -> None:
        assert self.tx is not None
        self.take(self.attempt.looked_up(self.world.databases.look_up(self.tx)))

    def _undo(self) -> None:
        assert self.tx is not None
        databases, weather = self.world.databases, self.world.weather
        databases.disconnect(self.tx)
        if weather.unreachable and self.world.roll() < weather.unreachable:
            self.take(self.attempt.undone([] if self.first else None))
            return
        found = self._found(self.members)
        covered = {m for tx in found for m in tx.members}
        if found and not covered.issuperset(self.members):
            self._vote_for(found)
            found, self.members = [], tuple(m for m in self.members if m not in covered)
        self.take(self.attempt.undone([tx.gid for tx in found]))

    def _found(self, members: tuple[int, ...]) -> list[Transaction]:
        seen: dict[str, Transaction] = {}
        for branch in members:
            seen.update((tx.gid, tx) for tx in self.world.databases.prepared_of(branch))
        return list(seen.values())

    def _vote_for(self, found: list[Transaction]) -> None:
        for tx in found:
            self._vote(Decision.COMMIT, tx, Kind.TWO_PHASE)

    def _vote_commit(self, read_only: bool) -> None:
        assert self.tx is not None
        if read_only:
            self.world.databases.disconnect(self.tx)
        self._vote(Decision.COMMIT, self.tx, Kind.READ_ONLY if read_only else self.kind)

    def _vote_rollback(self, failure: Failure) -> None:
        assert self.tx is not None
        self._vote(Decision.ROLLBACK, self.tx, self.kind, failure)

    def _vote(self, vote: Decision, tx: Transaction, kind: Kind, failure: Failure | None = None) -> None:
        members = tx.members if vote is Decision.COMMIT else self.members
        proof = tx.proof if vote is Decision.COMMIT and kind is not Kind.READ_ONLY else None
        item = VoteItem(
            vote=vote, gid=tx.gid, members=members, round=0, alias=tx.alias, kind=kind, proof=proof, error=failure
        )
        self.worker.vote(item)

    def _end(self) -> None:
        """The task ends with its vote handed over; Celery acknowledges its message."""
        self.worker.running.pop(self, None)
