"""The agent of a worker process: it sends votes, hears decisions, and finishes what is prepared.

Threads of its own do all of it: the bus's reader, one that publishes, a few that finish, one that sweeps. Tasks only
hand things over.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from coordination import conf
from coordination.bus.port import AgentBus
from coordination.protocol.encoding import MessageError, decode
from coordination.protocol.holdings import Action, AnswerHeld, Finish, Found, Holdings, SweepMemory, VoteAgain
from coordination.protocol.messages import Decided, Inquire, Order, StartedItem, StillHeld, Stop, VoteItem
from coordination.resources import registry
from coordination.resources.base import Finished

from .finishers import Finishers
from .holder import Holder
from .publisher import Publisher
from .sweep import Sweep

logger = logging.getLogger(__name__)

FINISH_SECONDS, FLUSH_SECONDS = 5.0, 2.0
"""How long a clean stop waits for orders under way, and then for what is still to be said."""

INTERRUPT_AT = (0.0, 0.3, 2.0)
"""Seconds of pause before each try to end a body whose batch is over: a statement may begin just after the first."""

BETWEEN_TASKS = 0.006
"""Seconds a process without a task is still taken for busy: its next one comes within 1 to 2 ms if there is any.

Taken for idle at once, it would say what it has to say after each fifth task or so of a long queue.
"""

UNANSWERED_SECONDS = 30.0
"""How often votes that nobody has answered are cast again."""


class AtWork(Protocol):
    """An execution of a branch, as the agent knows it."""

    batch: UUID

    def interrupt(self) -> bool:
        """End its body, whose batch is over; False when there is none to end. As :meth:`Work.interrupt`."""


class Agent:
    """What this process holds, and the threads around it. Its methods may be called from any thread."""

    def __init__(self, bus: AgentBus, process: str, aliases: Sequence[str]) -> None:
        """``process`` names this process to managers; ``aliases`` are the databases it can finish gids of."""
        self.process = process
        self._bus = bus
        self._lock = threading.Lock()
        self._holdings = Holdings(process)
        self._memories = {alias: SweepMemory(conf.installation()) for alias in aliases}
        self._stopped = threading.Event()
        self._receipts: dict[str, _Receipt] = {}
        self._at_work: set[AtWork] = set()
        self._rested = 0.0
        self._publisher = Publisher(bus, process, self._busy)
        self._finishers = Finishers(
            registry.resource_of, self._finished, most=conf.finishers(), idle=conf.IDLE_SECONDS
        )  # fmt: skip
        self._holder = Holder(
            self._lock, self._holdings, self._publisher, registry.resource_of, lambda: bus.wait_connected(0)
        )  # fmt: skip
        self._sweep = Sweep(aliases, registry.resource_of, self._vote_for_found, every=conf.sweep_seconds())

    def start(self) -> None:
        """Start the threads and return; connecting goes on in them."""
        self._publisher.start()
        self._bus.start(self._hear, on_connected=self._connected)
        self._sweep.start()
        self._holder.start()
        threading.Thread(target=self._vote_again, name="coordination-votes", daemon=True).start()

    def stop(self) -> None:
        """End cleanly: carry out what is ordered, say what is to be said, delete the mailbox.

        What is prepared stays prepared: any other agent finishes it. What is held and not decided is withdrawn.
        """
        self._stopped.set()
        self._sweep.stop()
        self._holder.stop()
        if not self._finishers.stop(FINISH_SECONDS):
            logger.warning("Agent %s stops with orders it could not carry out in time; others will.", self.process)
        if not self._publisher.flush(FLUSH_SECONDS):
            logger.warning("Agent %s stops with votes it could not send; the sweep will cast them.", self.process)
        self._publisher.stop()
        self._bus.close(delete_mailbox=True)
        registry.close_all()

    # --- for tasks ----------------------------------------------------------------------------------------------

    def wait_connected(self, timeout: float) -> bool:
        """Whether the mailbox was bound within ``timeout`` seconds; before that no ``started`` may leave."""
        return self._bus.wait_connected(timeout)

    def at_work(self, execution: AtWork) -> None:
        """``execution`` begins: until :meth:`at_rest` what this process says may wait a moment for its vote."""
        self._at_work.add(execution)

    def at_rest(self, execution: AtWork) -> None:
        """``execution`` has ended."""
        self._at_work.discard(execution)
        self._rested = time.monotonic()

    def is_over(self, batch: UUID) -> bool:
        """Whether this process has heard that ``batch`` is decided."""
        with self._lock:
            return self._holdings.is_over(batch)

    def hears_over(self, batch: UUID, seconds: float) -> bool:
        """Whether this process hears within ``seconds`` that ``batch`` is decided."""
        until = time.monotonic() + seconds
        while not self.is_over(batch):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def started(self, batch: UUID, item: StartedItem, *, wait: float = 0) -> None:
        """Say that an attempt begins, and wait up to ``wait`` seconds until that is certain to be heard."""
        told = threading.Event()
        self._publisher.started(batch, item, told.set if wait else None)
        if wait:
            told.wait(wait)

    def vote(self, batch: UUID, items: Sequence[VoteItem]) -> None:
        """Cast votes; not waited for. The gids are this agent's to finish from now on."""
        # Held before it is said: the answer may come at once.
        with self._lock:
            actions = [action for item in items for action in self._holdings.voted(batch, item)]
        self._publisher.votes(batch, items)
        self._carry_out(actions)

    def held(self) -> int:
        """How many promises this process has voted for and not finished."""
        with self._lock:
            return self._holdings.held()

    # --- what is heard, and what comes of it --------------------------------------------------------------------

    def _busy(self) -> bool:
        resting = not self._at_work and time.monotonic() - self._rested > BETWEEN_TASKS
        return not resting or self._finishers.busy()

    def _connected(self) -> None:
        logger.debug("Agent %s is connected.", self.process)

    def _hear(self, body: bytes, acknowledge: Callable[[], None]) -> None:
        try:
            message = decode(body)
            if not isinstance(message, Decided | Order | Stop | Inquire | StillHeld):
                raise MessageError(f"{type(message).__name__} is not for an agent")
        except MessageError as error:
            logger.warning("Agent %s drops a message it does not understand: %s", self.process, error)
            acknowledge()
            return
        with self._lock:
            actions = self._holdings.hear(message)
            orders = [action.item.gid for action in actions if isinstance(action, Finish)]
            if isinstance(message, Order) and orders:
                # From the recovery queue: until its end is reported, the broker keeps it for another agent.
                receipt = _Receipt(len(orders), acknowledge)
                self._receipts.update(dict.fromkeys(orders, receipt))
                acknowledge = _nothing
        acknowledge()
        self._carry_out(actions)
        if isinstance(message, Decided | Stop):
            self._interrupt(message.batch)

    def _interrupt(self, batch: UUID) -> None:
        """Its bodies that are still at work here do so in vain. A thread each: a database may hang."""
        for execution in [each for each in list(self._at_work) if each.batch == batch]:
            threading.Thread(
                target=_interrupt, args=(execution,), name="coordination-interrupt", daemon=True
            ).start()

    def _carry_out(self, actions: Iterable[Action]) -> None:
        orders = []
        for action in actions:
            match action:
                case Finish():
                    orders.append(action)
                case VoteAgain():
                    self._publisher.votes(action.batch, action.items)
                case AnswerHeld():
                    self._holder.answer(action.message)
        if orders:
            self._finishers.submit(orders)

    def _vote_again(self) -> None:
        while not self._stopped.wait(UNANSWERED_SECONDS):
            with self._lock:
                again = self._holdings.unanswered()
            self._carry_out(again)

    def _finished(self, order: Finish, finished: Finished) -> None:
        gid = order.item.gid
        with self._lock:
            item = self._holdings.finished(order.batch, gid, finished.outcome, finished.how)
            receipt = self._receipts.pop(gid, None)
        self._publisher.resolved(order.batch, item, receipt.one_told if receipt else None)

    def _vote_for_found(self, alias: str, found: Sequence[Found]) -> None:
        with self._lock:
            votes = self._memories[alias].choose(found, self._holdings)
        for batch, item in votes:
            self._publisher.votes(batch, [item])


def _interrupt(execution: AtWork) -> None:
    for pause in INTERRUPT_AT:
        time.sleep(pause)
        if not execution.interrupt():
            return


class _Receipt:
    """Acknowledges an order when the end of all its gids has been told."""

    def __init__(self, gids: int, acknowledge: Callable[[], None]) -> None:
        self._left = gids
        self._acknowledge = acknowledge

    def one_told(self) -> None:
        """The end of one more gid is told. Called by the publishing thread only."""
        self._left -= 1
        if not self._left:
            self._acknowledge()


def _nothing() -> None:
    """The receipt acknowledges, later."""
