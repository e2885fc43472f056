"""What a run will do, drawn from its seed alone: batches and faults, with the second of each."""

import random
from dataclasses import dataclass
from enum import StrEnum

from coordination.crashpoints import Point


class Kind(StrEnum):
    """The faults. What is killed or cut is started or mended after the fault's seconds."""

    KILL_NODE = "kill -9 of a node"
    KILL_WORKER = "kill -9 of a worker, its pool with it"
    KILL_CHILD = "kill -9 of a pool child"
    PAUSE_NODE = "a node stopped and continued"
    PAUSE_WORKER = "a worker stopped and continued"
    RESET_BROKER = "one process's connections to the broker reset"
    RESET_DATABASES = "one process's connections to the databases reset"
    HOLE_BROKER = "one process's way to the broker is a black hole"
    HOLE_DATABASES = "one process's way to the databases is a black hole"
    RESTART_BROKER = "kill -9 of RabbitMQ"
    KILL_DATABASE = "kill -9 of a PostgreSQL server"
    PAUSE_DATABASE = "a PostgreSQL server stopped and continued"
    RESTART_REDIS = "kill -9 of Redis"
    PAUSE_BROKER = "RabbitMQ stopped and continued"


SECONDS = {
    Kind.KILL_NODE: (0.2, 4.0),
    Kind.KILL_WORKER: (0.2, 3.0),
    Kind.KILL_CHILD: (0.0, 0.0),
    Kind.PAUSE_NODE: (0.5, 8.0),
    Kind.PAUSE_WORKER: (0.5, 8.0),
    Kind.RESET_BROKER: (0.0, 0.0),
    Kind.RESET_DATABASES: (0.0, 0.0),
    Kind.HOLE_BROKER: (1.0, 15.0),
    Kind.HOLE_DATABASES: (1.0, 10.0),
    Kind.RESTART_BROKER: (0.5, 4.0),
    Kind.KILL_DATABASE: (0.2, 2.0),
    Kind.PAUSE_DATABASE: (0.5, 4.0),
    Kind.RESTART_REDIS: (0.2, 3.0),
}
"""How long each lasts, at the least and at the most."""

LONG_SECONDS = 60.0
LONG = ((Kind.PAUSE_BROKER, 0), (Kind.HOLE_BROKER, 2), (Kind.PAUSE_WORKER, 0), (Kind.HOLE_BROKER, 0))
"""What a soak also has, once each, for a minute: longer than every heartbeat and time limit. They strike the broker,
the first worker, the same again, and the first node."""

NODE_POINTS = (
    Point.CHUNK_SENT, Point.CHUNK_STORED, Point.VOTES_STORED, Point.DECIDING, Point.DECIDED, Point.TOLD_ONE,
    Point.ENDING, Point.ENDED,
)  # fmt: skip
WORKER_POINTS = (
    Point.STARTED, Point.PREPARING, Point.PREPARED, Point.VOTED, Point.VOTE_SENT, Point.FINISHING, Point.FINISHED,
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault. ``which`` picks its target; ``arm``: at which crash point the process started again fails, if any."""

    at: float
    kind: Kind
    which: int
    seconds: float
    arm: str = ""


@dataclass(frozen=True)
class Batch:
    """One launch. ``plan`` is `load` or `order`; ``cancel_after``: seconds until a person asks for a rollback."""

    at: float
    key: str
    plan: str
    customer: str
    tasks: int = 3
    fail_at: int = 0
    seconds: float = 0.0
    cancel_after: float | None = None

    @property
    def good(self) -> bool:
        """Whether nothing but a fault can keep it from committing. Batches of plan `order` contend for rows."""
        return self.plan == "load" and not self.fail_at and self.cancel_after is None


@dataclass(frozen=True)
class Campaign:
    """All of a run."""

    seed: int
    seconds: float
    batches: tuple[Batch, ...]
    faults: tuple[Fault, ...]


def draw(seed: int, seconds: float, *, every: float, launches: float = 2.0, spare_first: bool = False) -> Campaign:
    """A run of ``seconds``: about one fault ``every`` so many seconds, and a launch each ``launches``.

    ``spare_first``, for a soak: the first node and the first worker are never killed, so that their growth can be
    watched, and there are faults that last for a minute.
    """
    dice = random.Random(seed)
    batches = _batches(random.Random(dice.random()), seconds, launches)
    faults = _faults(random.Random(dice.random()), seconds, every, spare_first)
    if spare_first:
        faults = tuple(sorted([*faults, *_long_faults(seconds)], key=lambda fault: fault.at))
    return Campaign(seed, seconds, batches, faults)


def _batches(dice: random.Random, seconds: float, launches: float) -> tuple[Batch, ...]:
    found: list[Batch] = []
    at = 0.5
    while at < seconds - 1:
        key, customer = f"batch {len(found) + 1}", dice.choice(("one", "two"))
        if dice.random() < 0.12:
            found.append(Batch(at, key, "order", customer))
        else:
            tasks = dice.choice((1, 3, 6, 9, 12, 18, 30))
            fail_at = dice.randint(1, tasks) if dice.random() < 0.2 else 0
            cancel = dice.uniform(0, 3) if dice.random() < 0.07 else None
            found.append(
                Batch(at, key, "load", customer, tasks, fail_at, dice.choice((0.0, 0.05, 0.1, 0.2, 0.3)), cancel)
            )
        at += dice.uniform(0.3, 1.7) * launches
    return tuple(found)


def _faults(dice: random.Random, seconds: float, every: float, spare_first: bool) -> tuple[Fault, ...]:
    """Dealt from decks with each kind once, so that a run of some length has every kind about equally often."""
    found: list[Fault] = []
    deck: list[Kind] = []
    at = dice.uniform(1.5, 1.5 + every)
    while at < seconds:
        if not deck:
            deck = list(SECONDS)
            dice.shuffle(deck)
        kind = deck.pop()
        which, arm = dice.randrange(1 << 16), ""
        if kind in (Kind.KILL_NODE, Kind.KILL_WORKER):
            point = dice.choice(NODE_POINTS if kind is Kind.KILL_NODE else WORKER_POINTS)
            arm = f"{point}#{dice.randint(1, 8)}={dice.choice(('kill', 'kill', 'stop'))}" if dice.random() < 0.7 else ""
            which = 1 if spare_first else which
        found.append(Fault(round(at, 2), kind, which, round(dice.uniform(*SECONDS[kind]), 2), arm))
        at += dice.uniform(0.5, 1.5) * every
    return tuple(found)


def _long_faults(seconds: float) -> list[Fault]:
    """Those of ``LONG``, spread over the run."""
    steps = len(LONG) + 1
    return [
        Fault(round(seconds * n / steps, 2), kind, which, LONG_SECONDS) for n, (kind, which) in enumerate(LONG, start=1)
    ]
