"""The broker, modelled: queues whose messages come in any order, get lost, come twice, or come again."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from coordination.protocol.effects import Tell
from coordination.protocol.messages import Order, ToAgent, ToManager

if TYPE_CHECKING:
    from .manager import Manager
    from .world import World


class Delivery:
    """One message given to a consumer and not acknowledged yet. Its own receipt."""

    __slots__ = ("channel", "message")

    def __init__(self, message: ToManager, channel: "Channel") -> None:
        self.message, self.channel = message, channel


class Channel:
    """A manager's consumer of the batch's queue."""

    __slots__ = ("manager", "open", "unacknowledged")

    def __init__(self, manager: "Manager") -> None:
        self.manager, self.open = manager, True
        self.unacknowledged: dict[Delivery, None] = {}


class Task:
    """A Celery message of one branch; ``retries`` is Celery's header.

    ``again``: it says that it may not be the first of its branch (sent again, put off, or delivered again).
    """

    __slots__ = ("again", "branch", "retries")

    def __init__(self, branch: int, *, retries: int = 0, again: bool) -> None:
        self.branch, self.retries, self.again = branch, retries, again


class Bus:
    """Every queue there is. Work that a message makes possible is put on the world's list, to be picked at random."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.queue: list[ToManager] | None = None
        """The batch's queue, if it exists."""
        self.consumers: list[Channel] = []
        self.strays: list[ToManager] = []
        self.mailboxes: dict[str, list[ToAgent]] = {}
        self.recovery: dict[str, list[Order]] = defaultdict(list)
        self.tasks: list[Task] = []
        self.ever_sent: set[int] = set()
        """Branches of which a Celery message has existed: a late copy may turn up at any time."""

    # --- the batch's queue ------------------------------------------------------------------------------------

    def vote(self, message: ToManager) -> None:
        """Publish to the exchange of votes: to the batch's queue, or to the strays if there is none."""
        for _ in range(self._copies()):
            self.route(message)

    def route(self, message: ToManager) -> None:
        """One copy of ``message``, to where it belongs."""
        if self.queue is None:
            self.strays.append(message)
            self.world.op(None, "stray", self.world.give_stray)
        else:
            self.queue.append(message)
            self.world.op(None, "deliver", self.deliver)

    def declare(self) -> bool:
        """Declare the batch's queue. False if it had to be made."""
        existed = self.queue is not None
        if not existed:
            self.queue = []
        return existed

    def consume(self, manager: "Manager") -> Channel:
        """Consume the batch's queue on a new channel."""
        channel = Channel(manager)
        self.consumers.append(channel)
        self._offer()
        return channel

    def deliver(self) -> None:
        """Give any message of the batch's queue to any of its consumers."""
        if not self.queue or not self.consumers:
            return
        channel = self.world.pick(self.consumers)
        delivery = Delivery(self.world.take(self.queue), channel)
        channel.unacknowledged[delivery] = None
        channel.manager.deliver(delivery)

    def close(self, channel: Channel) -> None:
        """Close a channel: what it has not acknowledged goes back to the queue."""
        if not channel.open:
            return
        channel.open = False
        if channel in self.consumers:
            self.consumers.remove(channel)
        if self.queue is not None:
            self.queue.extend(d.message for d in channel.unacknowledged)
            self._offer()
        channel.unacknowledged.clear()

    def delete_queue(self) -> None:
        """The batch's queue disappears, with all that is in it; its consumers are told."""
        self.queue = None
        consumers, self.consumers = self.consumers, []
        for channel in consumers:
            channel.open = False
            channel.unacknowledged.clear()
            channel.manager.queue_lost(channel)

    def _offer(self) -> None:
        for _ in self.queue or ():
            self.world.op(None, "deliver", self.deliver)

    # --- everything else --------------------------------------------------------------------------------------

    def tell(self, effect: Tell) -> None:
        """Publish to one mailbox; nothing if there is none."""
        self._mail(effect.process, effect.message)

    def tell_all(self, message: ToAgent) -> None:
        """Publish to every mailbox there is."""
        for process in list(self.mailboxes):
            self._mail(process, message)

    def _mail(self, process: str, message: ToAgent) -> None:
        box = self.mailboxes.get(process)
        worker = self.world.workers.get(process)
        if box is None or worker is None:
            return
        for _ in range(self._copies()):
            box.append(message)
            self.world.op(worker, "mail", worker.read_mail)

    def recover(self, alias: str, order: Order) -> None:
        """Publish to the recovery queue of ``alias``."""
        for _ in range(self._copies()):
            self.recovery[alias].append(order)
            self.world.op(None, "recover", self.world.give_recovery, alias)

    def send_task(self, task: Task) -> None:
        """Publish a Celery message."""
        self.tasks.append(task)
        self.ever_sent.add(task.branch)
        self.world.op(None, "task", self.world.give_task)

    def bind(self, process: str) -> None:
        """Declare and bind one mailbox."""
        self.mailboxes.setdefault(process, [])

    def wipe(self) -> None:
        """The broker comes back with nothing."""
        self.strays.clear()
        self.recovery.clear()
        self.tasks.clear()
        self.mailboxes.clear()
        self.delete_queue()

    def empty(self) -> bool:
        """Nothing waits anywhere, and the batch's queue is gone."""
        return self.queue is None and not (self.strays or self.tasks or any(self.recovery.values()))

    def _copies(self) -> int:
        weather, roll = self.world.weather, self.world.roll
        if weather.drop and roll() < weather.drop:
            return 0
        return 2 if weather.double and roll() < weather.double else 1


def describe(message: Any) -> str:
    """A message in few words, for the trace."""
    kind = type(message).__name__
    if hasattr(message, "items"):
        return f"{kind}({', '.join(_item(i) for i in message.items)})"
    rest = [str(getattr(message, n)) for n in ("outcome",) if hasattr(message, n)]
    names = [g[-6:] for g in getattr(message, "gids", ())]
    return f"{kind}({' '.join(rest + names)})"


def _item(item: Any) -> str:
    words = []
    for name in ("vote", "outcome", "gid", "branch", "token", "members", "kind"):
        value = getattr(item, name, None)
        if value is not None:
            words.append(value[-6:] if name in ("gid", "token") else str(value))
    return " ".join(words)
