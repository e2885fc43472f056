"""A worker process, as far as the protocol sees it: its agent's memory, its outbox, and the tasks it runs."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from coordination.protocol.holdings import Action, AnswerHeld, Finish, Found, VoteAgain
from coordination.protocol.messages import (
    Held,
    Order,
    Resolved,
    Started,
    ToManager,
    VoteItem,
    Votes,
    Withdrawn,
    WithdrawnItem,
)
from coordination.protocol.states import Kind, Outcome

from .bus import Task, describe
from .databases import Tx
from .execution import Execution

if TYPE_CHECKING:
    from .world import World

Entry = tuple[type[Any], Any, Callable[[], None] | None]
"""A message class, an item of it, and what to do when that is confirmed."""


class Worker:
    """One process with its agent. Killed, it takes its memory, its outbox and its connections with it."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.alive, self.paused = True, False
        self.holdings = world.parts.holdings(name)
        self.sweep_memory = world.parts.sweep_memory(world.installation)
        self.outbox: list[Entry] = []
        self.running: dict[Execution, list[Task]] = {}
        self.orders: list[tuple[str, Order]] = []
        """Deliveries from recovery queues that are not acknowledged yet."""
        world.bus.bind(name)

    # --- what the agent says ----------------------------------------------------------------------------------

    def say(self, kind: type[Any], item: Any, then: Callable[[], None] | None = None) -> None:
        """Hand an item to the agent; it leaves with whatever has gathered by then."""
        self.outbox.append((kind, item, then))
        self.world.op(self, "publish", self.publish)

    def publish(self) -> None:
        """Publish some of what has gathered, as one message, and wait for its confirm."""
        if not self.outbox:
            return
        kind = self.outbox[0][0]
        same = [e for e in self.outbox if e[0] is kind]
        entries = same[: self.world.number(1, len(same))]
        weather, roll = self.world.weather, self.world.roll
        message = self._message(kind, [e[1] for e in entries])
        self.world.note(self.name, f"publishes {describe(message)}")
        if weather.unconfirmed and roll() < weather.unconfirmed:
            if roll() < 0.5:
                self.world.bus.vote(message)
            self.world.op(self, "publish", self.publish)
            return
        self.world.bus.vote(message)
        for entry in entries:
            self.outbox.remove(entry)
            if entry[2] is not None:
                entry[2]()
        if self.outbox:
            self.world.op(self, "publish", self.publish)

    def _message(self, kind: type[Any], items: list[Any]) -> ToManager:
        batch = self.world.batch
        if kind is Held:
            return items[0]  # type: ignore[no-any-return]
        return kind(batch=batch, process=self.name, items=tuple(items))  # type: ignore[no-any-return]

    def vote(self, item: VoteItem) -> None:
        """A task hands its vote over: the agent knows what it holds before anybody can answer."""
        self.world.checks.voted(item)
        actions = self.holdings.voted(self.world.batch, item)
        self.say(Votes, item)
        self.act(actions)

    def start(self, item: Any) -> None:
        """Hand a ``started`` over."""
        self.say(Started, item)

    # --- what the agent hears ---------------------------------------------------------------------------------

    def read_mail(self) -> None:
        """Any message of its mailbox."""
        box = self.world.bus.mailboxes.get(self.name)
        if box:
            message = self.world.take(box)
            self.world.note(self.name, f"hears {describe(message)}")
            self.act(self.holdings.hear(message))

    def take_order(self, alias: str, order: Order) -> None:
        """An order from a recovery queue: acknowledged when the reports of it are confirmed."""
        delivery = (alias, order)
        actions = self.holdings.hear(order)
        left = len(actions)
        if not left:
            return
        self.orders.append(delivery)

        def reported() -> None:
            nonlocal left
            left -= 1
            if not left and delivery in self.orders:
                self.orders.remove(delivery)

        self.act(actions, reported)

    def act(self, actions: tuple[Action, ...], then: Callable[[], None] | None = None) -> None:
        """Carry out what the holdings ask for."""
        for action in actions:
            match action:
                case Finish():
                    self.world.op(self, "finish", self.finish, action, then)
                case VoteAgain(items=items):
                    for item in items:
                        self.say(Votes, item)
                case AnswerHeld(message=message):
                    self.say(Held, message)

    def finish(self, action: Finish, then: Callable[[], None] | None) -> None:
        """Carry an order out and report what became of the gid."""
        item, databases = action.item, self.world.databases
        tx = databases.all.get(item.gid)
        if action.kind is Kind.HELD and tx is not None and tx.status is Tx.OPEN:
            outcome, how = databases.finish_held(tx, item.outcome)
        else:
            outcome, how = databases.finish(item.gid, item.outcome, item.proof)
        self.world.note(self.name, f"finishes {item.gid[-6:]} {item.outcome}: {outcome} ({how})")
        report = self.holdings.finished(action.batch, item.gid, outcome, how)
        self.say(Resolved, report, then)
        if action.kind is Kind.HELD and outcome is Outcome.UNKNOWN:
            self.connection_lost(item.gid)

    def connection_lost(self, gid: str) -> None:
        """A held connection turned out dead."""
        if self.holdings.lost(self.world.batch, gid):
            self.say(Withdrawn, WithdrawnItem(gid=gid, reason="its connection was lost"))

    def remind(self) -> None:
        """Vote again for whatever is still held and not being finished."""
        if self.holdings.held():
            self.act(self.holdings.unanswered())

    def sweep(self) -> None:
        """List what is prepared; choose and vote a moment later."""
        found = self.world.databases.found()
        self.world.op(self, "sweep", self._sweep_votes, found)

    def _sweep_votes(self, found: list[Found]) -> None:
        for _, item in self.sweep_memory.choose(found, self.holdings):
            members = self.world.databases.all[item.gid].members
            if members != item.members:  # A gid of several branches: its database says which.
                item = replace(item, members=members)
            self.world.checks.voted(item)
            self.say(Votes, item)

    # --- its life ---------------------------------------------------------------------------------------------

    def run(self, tasks: list[Task]) -> None:
        """Celery gives it one task; or several, when it runs several in one transaction."""
        execution = Execution(self, tasks)
        self.running[execution] = tasks
        self.world.op(self, "begin", execution.begin)

    def bind_again(self) -> None:
        """The agent noticed that its mailbox was gone."""
        self.world.bus.bind(self.name)
        self.remind()

    def crash(self) -> None:
        """SIGKILL: tasks not acknowledged are delivered again, connections drop, memory is gone."""
        world = self.world
        self.alive = False
        self.outbox.clear()
        for execution, tasks in self.running.items():
            if execution.tx is not None:
                world.op(None, "disconnect", world.databases.disconnect, execution.tx)
            for task in tasks:
                world.bus.send_task(Task(task.branch, retries=task.retries, again=True))
        self.running.clear()
        for alias, order in self.orders:
            world.bus.recover(alias, order)
        for tx in world.databases.all.values():
            if tx.parked and tx.status is Tx.OPEN and tx.holder == self.name:
                world.op(None, "disconnect", world.databases.lose, tx)
