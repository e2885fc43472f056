"""What one schedule is like: how many branches, what they do, and which things go wrong how often.

Each seed draws its own subset of the faults ("swarm testing"): a schedule in which everything fails all the time
never gets deep enough to be interesting, and one fault often hides another.
"""

from dataclasses import dataclass
from random import Random

from coordination.protocol.states import Kind

FAULTS = (
    "crash_node", "pause_manager", "steal_lease", "crash_worker", "deliver_task_again", "delete_queue",
    "wipe_broker", "delete_mailbox", "rollback_by_hand", "lose_held", "prune", "cancel", "late_task",
)  # fmt: skip
FAR = 1e9
"""A deadline that does not matter until faults have stopped."""


@dataclass(slots=True)
class Weather:
    """The draw of one seed. Rates are probabilities: ``fault_rate`` a step, the others an occasion."""

    steps: int
    aliases: list[str]
    """Of branch 1, 2, …"""
    kinds: dict[str, Kind]
    deadline: float
    faults: list[str]
    fault_rate: float
    timers: float
    """How often a timer goes first although there is prompt work: time runs ahead of the messages."""
    failing: set[int]
    """Branches whose body always fails."""
    flaky: float
    retry: float
    hang: float
    read_only: float
    grouped: float
    """How often a worker runs several tasks in one transaction, under one gid."""
    restored: bool
    """The journal is an old backup: tasks of the batch, which it has as not dispatched, have run and still run."""
    started_first: bool
    """Whether ``started`` leaves before the question "already prepared?", or after it."""
    drop: float
    double: float
    unconfirmed: float
    write_fails: float
    write_unknown: float
    prepare_refused: float
    prepare_unknown: float
    busy: float
    reply_lost: float
    unreachable: float

    def calm(self) -> None:
        """Nothing goes wrong from now on. What is under way stays as it is."""
        self.faults, self.fault_rate, self.timers = [], 0.0, 0.0
        self.flaky = self.retry = self.hang = 0.0
        self.drop = self.double = self.unconfirmed = self.write_fails = self.write_unknown = 0.0
        self.prepare_refused = self.prepare_unknown = self.busy = self.reply_lost = self.unreachable = 0.0


def draw(rng: Random, *, held: float = 0.3) -> Weather:
    """The weather of the seed that ``rng`` was made from; ``held``: how often there is a database that is held."""

    def sometimes(chance: float, most: float) -> float:
        return rng.random() * most if rng.random() < chance else 0.0

    count = rng.choice((1, 2, 2, 2, 3, 3, 4))
    with_held = rng.random() < held
    names = ["A", "B", "H"] if with_held else ["A", "B"]
    aliases = [rng.choice(names) for _ in range(count)]
    faults = [f for f in FAULTS if rng.random() < 0.35]
    return Weather(
        steps=rng.choice((40, 80, 120, 160, 240)),
        aliases=aliases,
        kinds={"A": Kind.TWO_PHASE, "B": Kind.TWO_PHASE, "H": Kind.HELD},
        deadline=rng.uniform(3, 40) if rng.random() < 0.3 else FAR,
        faults=faults,
        fault_rate=rng.choice((0.0, 0.02, 0.05, 0.1)),
        timers=rng.choice((0.02, 0.1, 0.25)),
        failing={n + 1 for n in range(count) if rng.random() < 0.12},
        flaky=sometimes(0.2, 0.3),
        retry=sometimes(0.2, 0.3),
        hang=sometimes(0.1, 0.3),
        read_only=sometimes(0.2, 0.6),
        grouped=sometimes(0.15, 0.9),
        restored=rng.random() < 0.05,
        started_first=rng.random() < 0.5,
        drop=sometimes(0.3, 0.2),
        double=sometimes(0.3, 0.3),
        unconfirmed=sometimes(0.3, 0.3),
        write_fails=sometimes(0.2, 0.2),
        write_unknown=sometimes(0.35, 0.3),
        prepare_refused=sometimes(0.15, 0.2),
        prepare_unknown=sometimes(0.25, 0.5),
        busy=sometimes(0.2, 0.3),
        reply_lost=sometimes(0.2, 0.3),
        unreachable=sometimes(0.15, 0.3),
    )


def declared(rng: Random) -> Weather:
    """People declare what became of tasks, at any time."""
    weather = draw(rng)
    weather.faults, weather.fault_rate = [*weather.faults, "declare"], 0.1
    return weather


def held_and_lost(rng: Random) -> Weather:
    """Much is held, and connections, answers and withdrawals are lost: for what is rare in other weather."""
    weather = draw(rng, held=1.0)
    weather.aliases = [rng.choice("AHH") for _ in weather.aliases]
    weather.faults = [*weather.faults, "lose_held", "deliver_task_again", "steal_lease", "late_task"]
    weather.fault_rate = 0.1
    weather.reply_lost, weather.write_unknown, weather.failing = 0.4, 0.2, set()
    return weather
