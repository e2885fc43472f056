"""A node: it claims the batch in the order of TAKEOVER, answers strays, and cleans up after the end."""

from typing import TYPE_CHECKING

from coordination.protocol.effects import Tell
from coordination.protocol.journal_rules import ANSWER_SECONDS, Cleanup, PutBack, StrayFacts, Takeover
from coordination.protocol.messages import ToManager
from coordination.protocol.states import BatchState
from coordination.protocol.stored import Snapshot

from .bus import describe
from .manager import Manager

if TYPE_CHECKING:
    from .world import World


class Claim:
    """One taking over, step by step: anything may happen between two of them."""

    __slots__ = ("alive", "epoch", "manager", "missing", "node", "paused", "snapshot", "steps")

    def __init__(self, node: "Node") -> None:
        self.node, self.steps = node, list(node.world.parts.takeover)
        self.alive, self.paused = True, False
        self.epoch = 0
        self.snapshot: Snapshot | None = None
        self.manager: Manager | None = None
        self.missing = False


class Node:
    """A process that hosts a manager of the batch, and perhaps older ones that do not know yet that they are old."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.alive, self.paused = True, False
        self.managers: list[Manager] = []
        self.claiming: Claim | None = None
        self.cleaning: list[Cleanup] = []
        self.cleaned_epoch = 0
        """The batch's epoch when cleaning up began."""
        self.answering: list[ToManager] = []

    # --- claiming ---------------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Each second: is there a batch that nobody holds, or one that is over and not cleaned up?"""
        journal = self.world.journal
        if self.claiming or journal.pruned or journal.holder is not None:
            return
        if not journal.ended:
            self.claim()
        elif not journal.queue_deleted and not self.cleaning:
            self.clean_up(None)

    def claim(self) -> None:
        """Begin to take the batch over, unless it is over."""
        if self.alive and self.claiming is None and not self.world.journal.ended:
            self.claiming = Claim(self)
            self.world.op(self.claiming, "claim", self._claim, self.claiming)

    def _claim(self, claim: Claim) -> None:
        step = claim.steps.pop(0)
        self.world.note(self.name, f"takeover: {step}")
        if not getattr(self, f"_{step}")(claim):
            self.claiming = None
            claim.alive = False
        elif claim.steps and step is not Takeover.WAIT_FOR_ANSWERS:
            self.world.op(claim, "claim", self._claim, claim)
        if not claim.steps:
            self.claiming = None

    def _raise_epoch(self, claim: Claim) -> bool:
        epoch = self.world.journal.raise_epoch()
        if epoch is None:
            return False
        claim.epoch = epoch
        self.world.journal.holder = claim
        return True

    def _read_journal(self, claim: Claim) -> bool:
        if self.world.journal.pruned:
            return False
        claim.snapshot = self.world.journal.snapshot()
        return True

    def _consume(self, claim: Claim) -> bool:
        assert claim.snapshot is not None
        world = self.world
        manager = claim.manager = world.parts.manager(self, claim.epoch, world.parts.coordinator(claim.snapshot))
        for old in self.managers:
            old.drop("its node claimed the batch again")
        self.managers = [m for m in self.managers if m.alive] + [manager]
        world.all_managers.append(manager)
        if world.journal.holder is claim:
            world.journal.holder = manager
        claim.missing = not self.declare(manager) and claim.snapshot.state is not BatchState.PENDING
        if not manager.alive:
            return False
        manager.channel = world.bus.consume(manager)
        world.after(manager.waited, manager, "tick", manager.tick)
        world.after(3.0, manager, "lease", manager.look_at_lease)
        return True

    def _resume(self, claim: Claim) -> bool:
        manager = self._managed(claim)
        if manager is None:
            return False
        manager.coordinator.resume()
        if manager.coordinator.state is BatchState.PENDING:
            manager.coordinator.admit()
        manager.pump()
        return True

    def _wait_for_answers(self, claim: Claim) -> bool:
        self.world.after(ANSWER_SECONDS, claim, "claim", self._claim, claim)
        return True

    def _redispatch(self, claim: Claim) -> bool:
        if manager := self._managed(claim):
            manager.redispatch(claim.missing)
        return True

    def _managed(self, claim: Claim) -> Manager | None:
        return claim.manager if claim.manager is not None and claim.manager.alive else None

    def dropped(self, manager: Manager) -> None:
        """One of its managers stepped down."""
        if self.claiming is not None and self.claiming.manager is manager:
            self.claiming.alive, self.claiming = False, None

    def crash(self) -> None:
        """SIGKILL: what it had not acknowledged is delivered to others."""
        journal = self.world.journal
        self.alive = False
        if self.claiming is not None:
            self.claiming.alive = False
            if journal.holder is self.claiming:
                journal.holder = None
        for manager in self.managers:
            manager.drop("its node was killed")
        for message in self.answering:
            self.world.bus.strays.append(message)
            self.world.op(None, "stray", self.world.give_stray)
        self.answering.clear()

    # --- strays -----------------------------------------------------------------------------------------------

    def take_stray(self, message: ToManager) -> None:
        """A stray is delivered: read the journal, then answer, then acknowledge."""
        self.answering.append(message)
        self.world.op(self, "stray facts", self._read_facts, message)

    def _read_facts(self, message: ToManager) -> None:
        facts = self.world.journal.facts(message)
        self.world.op(self, "stray answer", self._answer, message, facts)

    def _answer(self, message: ToManager, facts: StrayFacts) -> None:
        answer = self.world.parts.answer_stray(message, facts)
        self.world.note(self.name, f"answers stray {describe(message)}: {answer}")
        if isinstance(answer, PutBack) and self.world.bus.queue is None:
            self.world.after(1.0, self, "stray again", self._put_back, message)  # its manager makes the queue
            return
        if isinstance(answer, PutBack):
            self.world.bus.route(message)
        else:
            self._send(answer)
            self.world.checks.stray_answered(message)
        self.answering.remove(message)

    def _put_back(self, message: ToManager) -> None:
        self.world.bus.route(message)
        self.answering.remove(message)

    def _send(self, answer: tuple[Tell, ...]) -> None:
        for tell in answer:
            self.world.checks.told(tell.message)
            self.world.bus.tell(tell)

    # --- after the end ----------------------------------------------------------------------------------------

    def clean_up(self, manager: Manager | None) -> None:
        """The end is stored: read what is left as strays, delete the queue if empty, store that."""
        for request, result in self.world.journal.requests.items():
            if result is None:
                self.world.journal.requests[request] = "Too late: the batch has ended"
        if manager is not None:
            manager.drop("its batch has ended")
        if not self.cleaning and self.alive:
            self._begin_to_clean()
            self.world.op(self, "clean up", self._clean_up)

    def _begin_to_clean(self) -> None:
        self.cleaning = list(self.world.parts.cleanup)
        self.cleaned_epoch = self.world.journal.epoch

    def _clean_up(self) -> None:
        """The first step that is left; one that cannot be done yet begins again."""
        if getattr(self, f"_{self.cleaning[0]}")():
            self.cleaning.pop(0)
        else:
            self._begin_to_clean()
        if self.cleaning:
            self.world.op(self, "clean up", self._clean_up)

    def _read_as_strays(self) -> bool:
        bus = self.world.bus
        if bus.queue:
            message = self.world.take(bus.queue)
            self.answering.append(message)
            self.world.op(self, "stray facts", self._read_facts, message)
        return not bus.queue

    def _delete_queue(self) -> bool:
        """Delete the queue if it is empty."""
        bus = self.world.bus
        if bus.queue:
            return False
        if bus.queue is not None:
            self.world.note(self.name, "deletes the batch's queue")
            bus.delete_queue()
        return True

    def _store_deleted(self) -> bool:
        """Store it, unless somebody has found the queue since we began."""
        if self.world.parts.cleanup_looks_at_the_epoch and self.cleaned_epoch != self.world.journal.epoch:
            return False
        self.world.journal.queue_deleted = True
        return True

    def _delete_again(self) -> bool:
        deleted = self._delete_queue()
        if not deleted:
            self.world.journal.queue_deleted = False
        return deleted

    def declare(self, manager: Manager) -> bool:
        """Declare the batch's queue, and look into the journal afterwards. False if the queue had to be made.

        If the batch is over by then, ``manager`` (for which it is declared) is dropped and the queue cleaned up.

        One step here: a node that is killed in between, after a pause in which others ended the batch and deleted
        its queue, leaves a queue that nobody reads; the broker lets it expire.
        """
        existed = self.world.bus.declare()
        if self.world.parts.must_clean_up(self.world.journal.facts(None)):
            self.world.journal.queue_deleted = False
            self.world.journal.raise_epoch()
            self.clean_up(manager)
        return existed
