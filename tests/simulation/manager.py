"""The driver of one coordinator, as thin as the product's: inputs in, effects out in order, one write at a time."""

from collections import deque
from typing import TYPE_CHECKING

from coordination.protocol.coordinator import Coordinator
from coordination.protocol.effects import (
    Acknowledge,
    AwaitHolders,
    Dispatch,
    Effect,
    Ended,
    Recover,
    StepDown,
    Tell,
    TellAll,
)
from coordination.protocol.journal_rules import ANSWER_SECONDS, repeat_delay
from coordination.protocol.states import BatchState
from coordination.protocol.stored import Write, WriteResult

from .bus import Channel, Delivery, Task, describe
from .declaring import DECLARED

if TYPE_CHECKING:
    from .node import Node

class Manager:
    """One claim of the batch by one node. It may be paused, and go on long after another has taken over."""

    def __init__(self, node: "Node", epoch: int, coordinator: Coordinator) -> None:
        self.node, self.world, self.epoch, self.coordinator = node, node.world, epoch, coordinator
        self.name = f"{node.name}/{epoch}"
        self.channel: Channel | None = None
        self.alive, self.paused, self.fenced = True, False, False
        self.inbox: list[Delivery] = []
        self.outgoing: deque[Effect] = deque()
        self.flushing = False
        self.waited = 1.0
        self.repeated = 0
        self.repeat_at = 0.0
        self.asked: set[int] = set()

    # --- inputs -----------------------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        """The broker hands a message over; a paused manager finds it when it goes on."""
        if self.paused:
            self.inbox.append(delivery)
        else:
            self._receive(delivery)

    def _receive(self, delivery: Delivery) -> None:
        if self.world.tracing:
            self.world.note(self.name, f"receives {describe(delivery.message)}")
        self.coordinator.receive(delivery.message, delivery)
        self.pump()

    def resume_from_pause(self) -> None:
        """SIGCONT: go on as if nothing had been; the lease is looked at a moment later."""
        if not self.paused:
            return
        self.paused = False
        self.world.op(self, "inbox", self._read_inbox)
        self.world.after(1.0, self, "lease", self.look_at_lease)

    def _read_inbox(self) -> None:
        while self.inbox and self.alive:
            self._receive(self.inbox.pop(0))

    def look_at_lease(self) -> None:
        """A lease that was not renewed in time: close the channel."""
        if self.world.journal.holder is not self:
            self.drop("its lease ran out")

    def queue_lost(self, channel: Channel) -> None:
        """The queue was deleted, or the broker came back without it."""
        if self.channel is channel:
            self.world.op(self, "queue lost", self._declare_again, self.world.wipes)

    def _declare_again(self, wipes: int) -> None:
        self.node.declare(self)
        if not self.alive:
            return
        self.channel = self.world.bus.consume(self)
        self.coordinator.resume()
        self.pump()
        self.world.after(ANSWER_SECONDS, self, "answers", self.redispatch, wipes > 0)

    def redispatch(self, wiped: bool) -> None:
        """Answers to ``inquire`` have had their time."""
        self.coordinator.redispatch(wiped=wiped)
        self.pump()

    def tick(self) -> None:
        """Everything that time brings: deadline, requests, silent processes, what is decided and not finished."""
        world, core = self.world, self.coordinator
        if world.journal.holder is self and not self.paused:
            if core.state is BatchState.ACTIVE and world.now >= world.journal.deadline:
                core.deadline_passed()
            for request, result in list(world.journal.requests.items()):
                if result is None and request not in self.asked:
                    self.asked.add(request)
                    if request in world.journal.declarations:
                        core.declare(request, *world.journal.declarations[request], how=DECLARED)
                    else:
                        core.cancel(request, "Cancelled by an operator")
            for process in sorted(core.running_on()):
                if not world.mailbox_is_read(process):
                    core.process_gone(process)
            if core.unfinished and world.now >= self.repeat_at:
                core.repeat()
                self.repeat_at = world.now + repeat_delay(self.repeated)
                self.repeated += 1
            self.pump()
        self.waited = min(self.waited * 1.5, 60.0) if world.is_calm else 1.0
        if self.alive:
            world.after(self.waited, self, "tick", self.tick)

    # --- effects and writes -----------------------------------------------------------------------------------

    def pump(self) -> None:
        """After each input: queue the effects, ask for the next write."""
        for effect in self.coordinator.effects():
            self.outgoing.append(effect)
            self.world.op(self, "carry", self.carry)
        if not self.flushing and self.coordinator.writable:
            self.flushing = True
            self.world.op(self, "flush", self.flush)

    def flush(self) -> None:
        """Send the next write to the journal. It may be carried out although this manager is gone by then."""
        self.flushing = False
        write = self.coordinator.next_write()
        if write is not None:
            self.world.op(None, "write", self.land, write)

    def land(self, write: Write) -> None:
        """The write's fate."""
        weather, roll = self.world.weather, self.world.roll
        if weather.write_fails and roll() < weather.write_fails:
            self.world.op(self, "write", self.land, write)  # Known to have changed nothing: the driver tries again.
            return
        if weather.write_unknown and roll() < weather.write_unknown:
            fate = roll()
            if fate < 0.4:
                self.world.journal.store(write, self.epoch)
            elif fate < 0.7:
                self.world.op(None, "late write", self.land_late, write)
            self.world.op(self, "answer", self.answered, WriteResult.UNKNOWN, write)
            return
        result = self.world.journal.store(write, self.epoch)
        self.world.op(self, "answer", self.answered, result, write)

    def land_late(self, write: Write) -> None:
        """A write whose sender has given up on it reaches the journal after all."""
        result = self.world.journal.store(write, self.epoch)
        self.world.note(self.name, f"its late write {write.number}: {result}")

    def answered(self, result: WriteResult, write: Write) -> None:
        """The driver hears how its write ended."""
        if self.world.tracing:
            self.world.note(self.name, f"write {write.number} is {result}: {_summary(write)}")
        self.fenced = self.fenced or result is WriteResult.UNTOUCHED
        self.coordinator.written(result)
        if result is WriteResult.STORED:
            self.world.checks.rebuilds(self)
        else:
            self.outgoing.clear()
        self.pump()

    def carry(self) -> None:
        """Carry the oldest effect out."""
        if self.outgoing:
            effect = self.outgoing.popleft()
            if self.world.tracing and not isinstance(effect, Acknowledge):
                self.world.note(self.name, f"carries out {_effect(effect)}")
            getattr(self, f"_{type(effect).__name__}")(effect)

    def _Acknowledge(self, effect: Acknowledge) -> None:
        for delivery in effect.receipts:
            channel = delivery.channel
            if channel.open and delivery in channel.unacknowledged:
                self.world.checks.acknowledged(delivery.message, self)
                del channel.unacknowledged[delivery]

    def _Tell(self, effect: Tell) -> None:
        self.world.checks.told(effect.message)
        self.world.bus.tell(effect)

    def _TellAll(self, effect: TellAll) -> None:
        self.world.checks.told(effect.message)
        self.world.bus.tell_all(effect.message)

    def _Recover(self, effect: Recover) -> None:
        self.world.checks.told(effect.message)
        self.world.bus.recover(effect.alias, effect.message)

    def _Dispatch(self, effect: Dispatch) -> None:
        """Published one by one and confirmed in a chunk: a crash may come between any two."""
        first, rest = effect.branches[:1], effect.branches[1:]
        for branch in first:
            self.world.bus.send_task(Task(branch, again=effect.again))
        if first:
            self.world.op(self, "confirm", self._confirmed, first)
        if rest:
            self.outgoing.appendleft(Dispatch(branches=rest, again=effect.again))
            self.world.op(self, "carry", self.carry)

    def _confirmed(self, branches: tuple[int, ...]) -> None:
        self.coordinator.sent(branches)
        self.pump()

    def _AwaitHolders(self, effect: AwaitHolders) -> None:
        self.world.after(ANSWER_SECONDS, self, "holders", self._holders_silent)

    def _holders_silent(self) -> None:
        self.coordinator.holders_silent()
        self.pump()

    def _StepDown(self, effect: StepDown) -> None:
        for left in self.outgoing:  # The product's driver acknowledges, last of all, what came in the same list.
            if isinstance(left, Acknowledge):
                self._Acknowledge(left)
        self.drop(effect.why)
        if effect.reclaim:
            self.node.claim()

    def _Ended(self, effect: Ended) -> None:
        self.node.clean_up(self)

    def drop(self, why: str) -> None:
        """Acknowledge nothing more, close the channel, forget the coordinator."""
        if not self.alive:
            return
        self.world.note(self.name, f"is dropped: {why}")
        self.alive = False
        self.outgoing.clear()
        if self.channel is not None:
            self.world.bus.close(self.channel)
        if self.world.journal.holder is self:
            self.world.journal.holder = None
        self.node.dropped(self)


def _summary(write: Write) -> str:
    parts = [str(write.state)] if write.state else []
    if write.decision:
        parts.append(f"DECISION {write.decision} ({write.reason[:60]})")
    for number, change in write.branches.items():
        gid = f" {change.gid[-6:]}" if change.gid else ""
        parts.append(f"{number}:{change.state or ''}{gid}{' sent' if change.sent else ''}")
    return " ".join(parts + [f"attempt {b}/{t[-6:]}" for b, t in write.attempts])


def _effect(effect: Effect) -> str:
    match effect:
        case Tell(process=process, message=message):
            return f"Tell {process} {describe(message)}"
        case TellAll(message=message):
            return f"TellAll {describe(message)}"
        case Recover(alias=alias, message=message):
            return f"Recover {alias} {describe(message)}"
        case _:
            return str(effect)
