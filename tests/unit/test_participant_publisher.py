"""What a worker process says: coalesced, in order, and said again until the broker has taken it."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import pytest

from coordination.bus.port import BusError
from coordination.participant import publisher as module
from coordination.participant.publisher import Publisher
from coordination.protocol import gid as gids
from coordination.protocol.encoding import MAX_ITEMS, decode
from coordination.protocol.messages import (
    Failure,
    Held,
    Message,
    Resolved,
    ResolvedItem,
    Started,
    StartedItem,
    VoteItem,
    Votes,
)
from coordination.protocol.states import Decision, Kind, Outcome
from tests.services import wait_until

BATCH, OTHER = uuid.uuid4(), uuid.uuid4()


class Bus:
    """The agent's port, onto a list. Publishing waits while ``open`` is not set, and fails while ``broken``."""

    def __init__(self) -> None:
        self.open, self.broken = threading.Event(), False
        self.publishes: list[list[tuple[UUID, int, Message]]] = []
        self.tries = self.ticks = 0
        self.open.set()

    def start(
        self, on_message: Callable[[bytes, Callable[[], None]], None], *, on_connected: Callable[[], None]
    ) -> None:
        pass

    def wait_connected(self, timeout: float) -> bool:
        return True

    def publish(self, messages: Sequence[tuple[UUID, int, bytes]]) -> None:
        self.open.wait()
        self.tries += 1
        if self.broken:
            raise BusError("the broker is away")
        self.publishes.append([(batch, branch, decode(body)) for batch, branch, body in messages])

    def tick(self) -> None:
        self.ticks += 1

    def close(self, *, delete_mailbox: bool) -> None:
        pass

    @property
    def said(self) -> list[Message]:
        return [message for publish in self.publishes for _, _, message in publish]


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def publisher(bus: Bus) -> Iterator[Publisher]:
    publisher = Publisher(bus, "worker-1", lambda: False)
    publisher.start()
    yield publisher
    bus.open.set()
    publisher.stop()


def gid(number: int = 1) -> str:
    return gids.build(installation="c0ffee00", batch=BATCH, branch=number, round=0, token=f"{number:016x}")


def vote(number: int = 1, error: Failure | None = None) -> VoteItem:
    return VoteItem(
        vote=Decision.ROLLBACK if error else Decision.COMMIT, gid=gid(number), members=(number,), round=0, alias="a",
        kind=Kind.TWO_PHASE, error=error,
    )  # fmt: skip


def start(number: int = 1) -> StartedItem:
    return StartedItem(branch=number, token=f"{number:016x}", retries=0)


def test_what_gathers_meanwhile_leaves_together(bus: Bus, publisher: Publisher) -> None:
    """One message for each batch and kind; starts before votes."""
    bus.open.clear()
    publisher.votes(BATCH, [vote(1)])
    wait_until(lambda: not publisher._gathered, 5, what="the first to leave")
    publisher.votes(BATCH, [vote(2)])
    publisher.votes(OTHER, [vote(7)])
    publisher.started(BATCH, start(5))
    publisher.started(BATCH, start(3))
    publisher.votes(BATCH, [vote(3), vote(4)])
    publisher.answer(Held(batch=BATCH, process="worker-1", gids=(gid(5),)))
    bus.open.set()
    assert publisher.flush(5)
    assert [[(batch, branch, type(m)) for batch, branch, m in publish] for publish in bus.publishes] == [
        [(BATCH, 1, Votes)],
        [(BATCH, 5, Started), (BATCH, 2, Votes), (OTHER, 7, Votes), (BATCH, 5, Held)],
    ]
    coalesced = bus.publishes[1][1][2]
    assert isinstance(coalesced, Votes)
    assert (coalesced.process, coalesced.items) == ("worker-1", (vote(2), vote(3), vote(4)))


def test_a_vote_says_that_its_attempt_has_started(bus: Bus, publisher: Publisher) -> None:
    """Unless somebody waits to be told that the start was heard."""
    told = threading.Event()
    bus.open.clear()
    publisher.votes(OTHER, [vote(9)])
    wait_until(lambda: not publisher._gathered, 5, what="the first to leave")
    publisher.started(BATCH, start(1))
    publisher.started(BATCH, start(2), told.set)
    publisher.votes(BATCH, [vote(1), vote(2)])
    bus.open.set()
    assert publisher.flush(5) and told.is_set()
    assert [[item.branch for item in m.items] for m in bus.said if isinstance(m, Started)] == [[2]]


def test_a_busy_process_waits_for_company(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has nothing more to do, a task has failed, or the time is up."""
    monkeypatch.setattr(module, "TOGETHER", 60.0)
    busy = threading.Event()
    busy.set()
    publisher = Publisher(bus, "worker-1", busy.is_set)
    publisher.start()
    for number in range(1, 4):
        publisher.votes(BATCH, [vote(number)])
        time.sleep(0.02)
    assert not bus.publishes
    busy.clear()
    wait_until(lambda: bus.publishes, 5, what="what a process at rest had to say")
    busy.set()
    publisher.started(BATCH, start(4))
    publisher.votes(BATCH, [vote(5, Failure(type="E", message="m"))])
    wait_until(lambda: len(bus.publishes) == 2, 5, what="the failure")
    monkeypatch.setattr(module, "TOGETHER", 0.01)
    publisher.votes(BATCH, [vote(6)])
    wait_until(lambda: len(bus.publishes) == 3, 5, what="a vote whose time is up")
    publisher.stop()
    assert [len(m.items) for m in bus.said if isinstance(m, Votes)] == [3, 1, 1]


def test_nobody_waits(bus: Bus, publisher: Publisher) -> None:
    bus.open.clear()
    began = time.monotonic()
    for number in range(1000):
        publisher.votes(BATCH, [vote(number)])
    assert time.monotonic() - began < 1
    assert not publisher.flush(0.1)


def test_nothing_is_lost_while_the_broker_is_away(
    bus: Bus, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said again with growing pauses; who waits to be told hears it after the confirm, and not before."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    told: list[int] = []
    bus.broken = True
    publisher.votes(BATCH, [vote(1)])
    publisher.resolved(BATCH, ResolvedItem(gid=gid(2), outcome=Outcome.COMMITTED, how="x"), lambda: told.append(2))
    wait_until(lambda: bus.tries >= 3, 5, what="three tries")
    publisher.votes(BATCH, [vote(3)])
    assert told == [] and bus.said == []
    bus.broken = False
    assert publisher.flush(5)
    assert told == [2]
    assert {item.gid for m in bus.said if isinstance(m, Votes) for item in m.items} == {gid(1), gid(3)}
    assert any(isinstance(m, Resolved) for m in bus.said)


def test_what_is_too_long_is_split(bus: Bus, publisher: Publisher) -> None:
    """By number of items, and by bytes: a batch whose tasks all fail with long tracebacks."""
    bus.open.clear()
    publisher.votes(OTHER, [vote(1)])
    publisher.votes(BATCH, [vote(n) for n in range(MAX_ITEMS + 1)])
    long = Failure(type="E", message="m", traceback="x" * 8000)
    publisher.votes(OTHER, [vote(n, long) for n in range(1500)])
    bus.open.set()
    assert publisher.flush(10)
    sizes = [len(m.items) for m in bus.said if isinstance(m, Votes) and m.batch == BATCH]
    assert sizes == [MAX_ITEMS, 1]
    assert sum(len(m.items) for m in bus.said if isinstance(m, Votes) and m.batch == OTHER) == 1501


def test_what_cannot_be_said_does_not_stop_the_rest(bus: Bus, publisher: Publisher) -> None:
    publisher.votes(BATCH, [vote(1, Failure(type="E", message="x", traceback="y" * 5_000_000)), vote(2)])
    assert publisher.flush(10)
    assert [item.gid for m in bus.said if isinstance(m, Votes) for item in m.items] == [gid(2)]


def test_it_shows_signs_of_life(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_TICK", 0.01)
    publisher = Publisher(bus, "worker-1", lambda: False)
    publisher.start()
    wait_until(lambda: bus.ticks >= 3, 5, what="ticks")
    publisher.stop()
