"""What must hold at every step, whatever happens. A :class:`Violation` names the rule that was broken."""

from typing import TYPE_CHECKING

from coordination.protocol.coordinator import Coordinator
from coordination.protocol.messages import (
    Decided,
    Held,
    Order,
    OrderItem,
    Resolved,
    ResolvedItem,
    Started,
    StartedItem,
    Stop,
    ToAgent,
    ToManager,
    VoteItem,
    Votes,
    Withdrawn,
    WithdrawnItem,
)
from coordination.protocol.states import (
    BATCH_ENDED,
    BATCH_TRANSITIONS,
    BRANCH_ENDED,
    CONTRADICTED,
    BatchState,
    BranchState,
    Decision,
    Declared,
    Kind,
    Outcome,
)
from coordination.protocol.stored import BranchChange, Write

from .comparing import REACHABLE, essence
from .databases import Transaction, Tx
from .declaring import DECLARED

if TYPE_CHECKING:
    from .journal import Row
    from .manager import Manager
    from .world import World


class Violation(AssertionError):
    """A rule that must never be broken was broken."""


class Checks:
    """The judge. It sees the true state of everything, and is asked at each event that could break a rule."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.promised: set[str] = set()
        """Gids for which a ``COMMIT`` vote was cast."""
        self.names: set[str] = set()
        self.effects: dict[int, int] = {}
        self.declared: set[int] = set()
        """Branches that ended by an approver's word. Their database may say something else."""
        self.must_not_miss_deadline = False

    def broken(self, rule: str, what: str) -> Violation:
        """The violation to raise."""
        self.world.note("VIOLATION", f"{rule}: {what}")
        return Violation(f"{rule}: {what}")

    # --- databases --------------------------------------------------------------------------------------------

    def named(self, gid: str) -> None:
        """No gid twice."""
        if gid in self.names:
            raise self.broken("no gid twice", gid)
        self.names.add(gid)

    def voted(self, item: VoteItem) -> None:
        """A vote is cast."""
        if item.vote is Decision.COMMIT:
            self.promised.add(item.gid)

    def committed(self, tx: Transaction) -> None:
        """I1, I3, I6: committed only by a stored decision, only if adopted, and once a branch."""
        journal = self.world.journal
        if journal.decision is not Decision.COMMIT:
            raise self.broken("I1/I4", f"{tx.gid[-6:]} is committed, and the stored decision is {journal.decision}")
        if any(journal.rows[n].gid != tx.gid for n in tx.members):
            raise self.broken("I6", f"{tx.gid[-6:]} is committed and not the adopted gid of {tx.members}")
        for n in tx.members:
            self.effects[n] = self.effects.get(n, 0) + 1
            if self.effects[n] > 1:
                raise self.broken("I6", f"branch {n} is applied {self.effects[n]} times")

    def rolled_back(self, tx: Transaction) -> None:
        """P1: a promise is rolled back only on a stored fact that never changes."""
        journal = self.world.journal
        if self._adopted(tx.gid):
            if journal.decision is not Decision.ROLLBACK:
                raise self.broken("P1", f"adopted {tx.gid[-6:]} is rolled back, and the decision is {journal.decision}")
        elif not self._refusable(tx.members):
            raise self.broken("P1", f"{tx.gid[-6:]} is rolled back although nothing stored speaks against it")

    def _adopted(self, gid: str) -> list["Row"]:
        return [row for row in self.world.journal.rows.values() if row.gid == gid]

    def _refusable(self, members: tuple[int, ...]) -> bool:
        """Whether a stored fact says that a gid of ``members``, which is not adopted, never will be."""
        journal = self.world.journal
        rows = journal.rows
        return journal.pruned or journal.decision is not None or any(rows[n].gid is not None for n in members)

    # --- what is said -----------------------------------------------------------------------------------------

    def told(self, message: ToAgent) -> None:
        """I2, I4: each order's reason is stored at the moment it is sent."""
        journal = self.world.journal
        match message:
            case Order(items=items):
                for item in items:
                    self._ordered(item)
            case Decided(outcome=outcome, gids=names):
                if outcome is not journal.decision:
                    raise self.broken("I4", f"{outcome} is announced and {journal.decision} is stored")
                for name in names:
                    if outcome is Decision.COMMIT and not self._adopted(name):
                        raise self.broken("I3", f"COMMIT names {name[-6:]}, which is not adopted")
            case Stop():
                if journal.decision is None and not journal.pruned:
                    raise self.broken("I4", "stop is said before a decision is stored")

    def _ordered(self, item: OrderItem) -> None:
        journal, tx = self.world.journal, self.world.databases.all[item.gid]
        adopted = self._adopted(item.gid)
        if item.outcome is Decision.COMMIT:
            if journal.decision is not Decision.COMMIT or not adopted:
                raise self.broken("I4", f"order to commit {item.gid[-6:]} without a stored reason")
        elif adopted:
            finished = journal.pruned and tx.status is not Tx.PREPARED
            if journal.decision is not Decision.ROLLBACK and not finished:
                raise self.broken("P1", f"order to roll adopted {item.gid[-6:]} back without a stored decision")
        elif not self._refusable(tx.members):
            raise self.broken("P1", f"order to roll {item.gid[-6:]} back before anything stored speaks against it")

    # --- acknowledgements -------------------------------------------------------------------------------------

    def acknowledged(self, message: ToManager, manager: "Manager") -> None:
        """P5: nothing is acknowledged before what it says is stored, and nothing by a manager that was fenced off."""
        journal = self.world.journal
        if manager.fenced:
            raise self.broken("P5", f"{manager.name} acknowledges after a write that touched no row")
        if journal.pruned or isinstance(message, Held):
            return
        for item in message.items:
            if not self._settled(item, manager):
                raise self.broken("P5", f"{manager.name} acknowledges {type(message).__name__} {item} unstored")

    def _settled(self, item: StartedItem | VoteItem | WithdrawnItem | ResolvedItem, manager: "Manager") -> bool:
        journal = self.world.journal
        match item:
            case StartedItem(branch=branch, token=token):
                return journal.decision is not None or (branch, token) in journal.attempts
            case VoteItem(vote=Decision.COMMIT, gid=gid, members=members):
                return bool(self._adopted(gid)) or self._refusable(members)
            case VoteItem(members=members):
                return journal.decision is not None or all(journal.rows[n].gid is not None for n in members)
            case WithdrawnItem(gid=gid):
                if rows := self._adopted(gid):
                    return all(r.state in BRANCH_ENDED for r in rows) or journal.decision is Decision.ROLLBACK
                return self._refusable(self.world.databases.all[gid].members)
            case ResolvedItem(gid=gid, outcome=outcome):
                # A manager that does not know the decision yet has been taken over: it loses a report, which
                # its successor asks for again.
                stale = manager.coordinator.decision is None and manager.epoch != journal.epoch
                rows = self._adopted(gid)
                return stale or outcome is Outcome.UNKNOWN or all(r.state in BRANCH_ENDED for r in rows)
        raise AssertionError(item)

    def stray_answered(self, message: ToManager) -> None:
        """A stray is acknowledged with an answer only when the batch is over."""
        journal = self.world.journal
        if not (journal.pruned or journal.ended) and isinstance(message, Votes | Withdrawn | Resolved | Started):
            raise self.broken("P5", "a stray of an open batch is acknowledged without being put back")

    # --- the journal ------------------------------------------------------------------------------------------

    def storing(self, write: Write) -> None:
        """The write's guards hold: does it keep the tables of transitions, and what never changes?"""
        journal = self.world.journal
        if write.state not in (None, journal.state) and write.state not in BATCH_TRANSITIONS[journal.state]:
            raise self.broken("transitions", f"batch {journal.state} → {write.state}")
        if write.decision is not None and journal.decision is not None:
            raise self.broken("I2", f"decided {journal.decision}, then {write.decision}")
        for number, change in write.branches.items():
            row = journal.rows[number]
            if change.state is not None and change.state not in REACHABLE[row.state]:
                raise self.broken("transitions", f"branch {number} {row.state} → {change.state}")
            if change.gid is not None and row.gid not in (None, change.gid):
                raise self.broken("rule 3", f"branch {number} had adopted {row.gid[-6:]}, now {change.gid[-6:]}")

    def stored(self, write: Write) -> None:
        """The write is durable."""
        journal = self.world.journal
        for number, change in write.branches.items():
            if change.gid is not None:
                self._adoption(change.gid)
            if change.state is not None:
                self._fate(journal.rows[number], change)
        if write.decision is not None:
            self._decision(write)
        if write.state in BATCH_ENDED:
            self._end(write.state)

    def _adoption(self, gid: str) -> None:
        journal, tx = self.world.journal, self.world.databases.all[gid]
        if any(journal.rows[n].gid != gid for n in tx.members):
            raise self.broken("rule 3", f"{gid[-6:]} covers {tx.members} and is adopted for some of them only")
        if gid not in self.promised:
            raise self.broken("I3", f"{gid[-6:]} is adopted and nobody voted COMMIT for it")
        read_only = any(journal.rows[n].kind is Kind.READ_ONLY for n in tx.members)
        alive = tx.status is Tx.PREPARED or (tx.status is Tx.OPEN and tx.parked)
        if not (alive or read_only or tx.by_accident):
            raise self.broken("P1", f"{gid[-6:]} is adopted when it is already {tx.status.value}")

    def _fate(self, row: "Row", change: BranchChange) -> None:
        """What a row says of its gid is what its database says."""
        if row.gid is None or row.kind is Kind.READ_ONLY or row.state not in BRANCH_ENDED:
            return
        if change.how == DECLARED:
            self._declaration(row)
            return
        tx = self.world.databases.all[row.gid]
        said = row.state in (BranchState.COMMITTED, BranchState.HEURISTIC_COMMIT)
        if tx.status is not (Tx.COMMITTED if said else Tx.ABORTED):
            raise self.broken("rule 9", f"branch {row.number} is stored as {row.state}; its gid is {tx.status.value}")
        if row.state in CONTRADICTED and not tx.by_accident:
            raise self.broken("no false MIXED", f"branch {row.number} is {row.state}, and nobody contradicted")

    def _declaration(self, row: "Row") -> None:
        """Rule 10: after the decision, as somebody has asked, and for all that was prepared as one."""
        journal = self.world.journal
        if journal.decision is None:
            raise self.broken("rule 10", f"branch {row.number} is declared before the decision")
        fates = {fate for tasks, fate in journal.declarations.values() if row.number in tasks}
        commit = journal.decision is Decision.COMMIT
        wanted = {
            Declared.COMMITTED: BranchState.COMMITTED if commit else BranchState.HEURISTIC_COMMIT,
            Declared.ROLLED_BACK: BranchState.HEURISTIC_ROLLBACK if commit else BranchState.ROLLED_BACK,
            Declared.LOST: BranchState.LOST,
        }
        if row.state not in {wanted[fate] for fate in fates}:
            raise self.broken("rule 10", f"branch {row.number} is {row.state}, and declared were {sorted(fates)}")
        if len({r.state for r in self._adopted(row.gid or "")}) > 1:
            raise self.broken("rule 10", f"{(row.gid or '')[-6:]} is declared for some of its branches only")
        self.declared.add(row.number)

    def _decision(self, write: Write) -> None:
        rows = self.world.journal.rows.values()
        complete = all(r.gid is not None for r in rows)
        if write.decision is Decision.COMMIT:
            if not complete:
                raise self.broken("I3", "COMMIT is stored without every branch's adopted gid")
        elif complete and write.reason.startswith("Deadline"):
            raise self.broken("never lost", "all branches are adopted, and the deadline rolls them back")
        if self.must_not_miss_deadline and write.reason.startswith("Deadline"):
            raise self.broken("never lost", "all branches were prepared when faults stopped; the deadline came first")

    def _end(self, state: BatchState) -> None:
        states = {r.state for r in self.world.journal.rows.values()}
        contradicted = bool(states & CONTRADICTED)
        if states - BRANCH_ENDED:
            raise self.broken("rule 9", f"the batch ends {state} with branches {sorted(states - BRANCH_ENDED)}")
        if (state is BatchState.MIXED) != contradicted:
            raise self.broken("no false MIXED", f"the batch ends {state} with branches {sorted(states)}")
        if state is BatchState.COMMITTED and states != {BranchState.COMMITTED}:
            raise self.broken("I1", f"COMMITTED with branches {sorted(states)}")
        if state is BatchState.ROLLED_BACK and BranchState.COMMITTED in states:
            raise self.broken("I1", f"ROLLED_BACK with branches {sorted(states)}")

    def rebuilds(self, manager: "Manager") -> None:
        """What is rebuilt from the journal equals the running state, when nothing is unstored."""
        journal, running = self.world.journal, manager.coordinator
        if manager.epoch != journal.epoch or journal.pruned or running.writable or running._deciding.verdict:
            return
        fresh, mine = essence(Coordinator(journal.snapshot())), essence(running)
        if fresh != mine:
            raise self.broken("rebuild", f"the journal gives {fresh}; running is {mine}")

    # --- the end ----------------------------------------------------------------------------------------------

    def faults_stop(self) -> None:
        """From now on nothing goes wrong: may the deadline still decide?"""
        world, journal = self.world, self.world.journal
        if journal.decision is not None or journal.pruned or world.weather.deadline < 1e9 or world.weather.grouped:
            return
        prepared = {n for tx in world.databases.prepared.values() for n in tx.members}
        self.must_not_miss_deadline = prepared.issuperset(journal.rows)

    def finally_holds(self) -> None:
        """After the faults: everything is over, and every branch ended as the batch did, or the batch says it did not.

        Looks at nothing but the databases, the journal's last word and the broker.
        """
        world, journal = self.world, self.world.journal
        applied = {n: self.effects.get(n, 0) for n, r in journal.rows.items() if r.kind is not Kind.READ_ONLY}
        by_accident = {n for tx in world.databases.all.values() if tx.by_accident for n in tx.members}
        if any(count > 1 for count in applied.values()):
            raise self.broken("I6", f"applied more than once: {applied}")
        expected = {BatchState.COMMITTED: {1}, BatchState.ROLLED_BACK: {0}}.get(journal.state, {0, 1})
        believed = self.declared & by_accident  # Somebody interfered, and somebody said that nothing had happened.
        if not expected.issuperset(count for n, count in applied.items() if n not in believed):
            raise self.broken("I1", f"{journal.state}, and applied were {applied}")
        if journal.state is BatchState.MIXED and not by_accident and not self.declared:
            raise self.broken("no false MIXED", f"nobody interfered, and applied were {applied}")
        if not world.bus.empty():
            raise self.broken("I7", "messages or the batch's queue are left")
        for request, result in journal.requests.items():
            if result is None and not journal.pruned:
                raise self.broken("never forgotten", f"request {request} has no answer")
