"""The agent between bus and databases: what it acknowledges, and when; what it says again."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coordination.participant import agent as module
from coordination.participant import publisher as publishing
from coordination.participant.agent import Agent
from coordination.protocol.encoding import encode
from coordination.protocol.messages import (
    Decided,
    Inquire,
    Order,
    OrderItem,
    Resolved,
    Started,
    StillHeld,
    Stop,
    ToAgent,
    Votes,
)
from coordination.protocol.states import Decision, Kind, Outcome
from tests.services import wait_until
from tests.unit.test_participant_publisher import BATCH, OTHER, Bus, gid, start, vote


class Heard(Bus):
    """The port, with a mailbox the test speaks into."""

    def start(
        self, on_message: Callable[[bytes, Callable[[], None]], None], *, on_connected: Callable[[], None]
    ) -> None:
        self.on_message = on_message
        self.acknowledged = 0
        self.deleted: bool | None = None

    def hear(self, body: bytes | ToAgent) -> None:
        self.on_message(body if isinstance(body, bytes) else encode(body), self._acknowledge)

    def _acknowledge(self) -> None:
        self.acknowledged += 1

    def close(self, *, delete_mailbox: bool) -> None:
        self.deleted = delete_mailbox

    def of(self, kind: type) -> list[Any]:
        return [m for m in self.said if isinstance(m, kind)]


class Task:
    """An execution, as far as the agent looks."""

    batch = BATCH

    def interrupt(self) -> bool:
        return False


@pytest.fixture
def bus() -> Heard:
    return Heard()


@pytest.fixture
def agent(bus: Heard) -> Iterator[Agent]:
    """An agent of a process without databases: every order ends as unknown."""
    agent = Agent(bus, "worker-1", [])
    agent.start()
    yield agent
    bus.open.set()
    agent.stop()
    assert bus.deleted is True


def order(*gids: str) -> Order:
    items = tuple(OrderItem(gid=g, outcome=Decision.COMMIT, alias="nowhere") for g in gids)
    return Order(batch=BATCH, items=items)


def test_an_order_is_acknowledged_when_its_end_is_confirmed(agent: Agent, bus: Heard) -> None:
    """Until then the broker keeps it for another agent."""
    bus.open.clear()
    bus.hear(order(gid(1), gid(2)))
    time.sleep(0.1)
    assert bus.acknowledged == 0
    bus.open.set()
    wait_until(lambda: bus.acknowledged, 5, what="the acknowledgement")
    ends = [item for m in bus.of(Resolved) for item in m.items]
    assert {(end.gid, end.outcome) for end in ends} == {(gid(1), Outcome.UNKNOWN), (gid(2), Outcome.UNKNOWN)}
    assert "nowhere" in ends[0].how
    assert bus.acknowledged == 1


@pytest.mark.parametrize(
    "message",
    [Stop(batch=BATCH), Inquire(batch=BATCH), Decided(batch=BATCH, outcome=Decision.ROLLBACK, gids=()), b"", b"\xff{"],
)
def test_everything_else_is_acknowledged_at_once(agent: Agent, bus: Heard, message: bytes | ToAgent) -> None:
    """Garbage too, and what is meant for a manager."""
    bus.hear(message)
    bus.hear(encode(Started(batch=BATCH, process="x", items=(start(),))))
    assert bus.acknowledged == 2


def test_the_end_of_a_batch_is_remembered(agent: Agent, bus: Heard) -> None:
    bus.hear(Stop(batch=BATCH))
    assert agent.is_over(BATCH) and not agent.is_over(OTHER)


def test_a_decision_that_came_first_is_carried_out_on_a_later_vote(agent: Agent, bus: Heard) -> None:
    bus.hear(Decided(batch=BATCH, outcome=Decision.ROLLBACK, gids=()))
    agent.vote(BATCH, [vote(1)])
    wait_until(lambda: bus.of(Resolved), 5, what="its end")


def test_a_vote_is_held_before_it_is_said(agent: Agent, bus: Heard) -> None:
    """The answer may come at once."""
    bus.open.clear()
    agent.vote(BATCH, [vote(1)])
    assert agent.held() == 1
    bus.hear(StillHeld(batch=BATCH, gids=(gid(1), gid(2))))
    bus.open.set()
    wait_until(lambda: any(type(m).__name__ == "Held" for m in bus.said), 5, what="the answer")
    (held,) = [m for m in bus.said if type(m).__name__ == "Held"]
    assert held.gids == (gid(1),)  # type: ignore[union-attr]


def test_a_process_between_two_tasks_is_busy(agent: Agent, bus: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "TOGETHER", 60.0)
    monkeypatch.setattr(module, "BETWEEN_TASKS", 60.0)
    task = Task()
    agent.at_work(task)
    agent.vote(BATCH, [vote(1)])
    agent.at_rest(task)
    time.sleep(0.05)
    assert not bus.publishes
    monkeypatch.setattr(module, "BETWEEN_TASKS", 0.02)
    wait_until(lambda: bus.publishes, 5, what="the vote of a process that got no other task")


def test_the_unanswered_is_said_again(bus: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNANSWERED_SECONDS", 0.05)
    agent = Agent(bus, "worker-1", [])
    agent.start()
    agent.vote(BATCH, [vote(1)])
    wait_until(lambda: len(bus.of(Votes)) >= 3, 5, what="the vote, three times")
    assert {item for m in bus.of(Votes) for item in m.items} == {vote(1)}
    agent.stop()


def test_a_start_that_must_be_heard_is_waited_for(agent: Agent, bus: Heard) -> None:
    bus.open.clear()
    began = time.monotonic()
    agent.started(BATCH, start(1), wait=0.2)
    assert time.monotonic() - began >= 0.2
    bus.open.set()
    agent.started(BATCH, start(2), wait=5)
    assert sum(len(m.items) for m in bus.of(Started)) == 2


def test_a_clean_stop_says_what_is_to_be_said(bus: Heard) -> None:
    agent = Agent(bus, "worker-1", [])
    agent.start()
    batches = [uuid.uuid4() for _ in range(50)]
    for batch in batches:
        agent.vote(batch, [vote(1)])
    agent.stop()
    assert {m.batch for m in bus.of(Votes)} == set(batches)
    assert vote(1).kind is Kind.TWO_PHASE and agent.held() == 50
