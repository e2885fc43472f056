"""What a worker process says of the transactions it holds open, and when it gives them up."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from coordination.participant import holder
from coordination.participant.agent import Agent
from coordination.protocol.messages import Decided, Held, Resolved, StillHeld, VoteItem, Votes, Withdrawn
from coordination.protocol.states import Decision, Kind, Outcome
from coordination.resources import held, registry
from tests.contract.engines import ALIAS, Ending, SQLiteEngine, insert
from tests.services import wait_until
from tests.unit.test_participant_agent import Heard

pytestmark = pytest.mark.parametrize("held_engine", ["sqlite"], indirect=True)


class Bus(Heard):
    """The agent's port, which can be cut off from the broker."""

    connected = True

    def wait_connected(self, timeout: float) -> bool:
        return self.connected


class Process:
    """A worker process with one transaction held open, and what it says."""

    def __init__(self, engine: SQLiteEngine) -> None:
        self.engine, self.bus = engine, Bus()
        self.agent = Agent(self.bus, "worker-1", [ALIAS])
        self.agent.start()

    def vote(self) -> Ending:
        """Do a task's work, and vote for it."""
        end = self.engine.run(insert("x"), resource=registry.resource_of(ALIAS))
        item = VoteItem(
            vote=Decision.COMMIT, gid=end.gid, members=(1,), round=0, alias=ALIAS, kind=Kind.HELD, proof=end.proof
        )
        self.agent.vote(self.engine.batch, [item])
        wait_until(lambda: self.bus.of(Votes), 5, what="the vote")
        return end

    def ask(self, end: Ending) -> tuple[str, ...]:
        """Which gids it says to hold, when it is asked for this one."""
        before = len(self.bus.of(Held))
        self.bus.hear(StillHeld(batch=self.engine.batch, gids=(end.gid,)))
        wait_until(lambda: len(self.bus.of(Held)) > before, 5, what="the answer")
        answer: Held = self.bus.of(Held)[-1]
        return answer.gids

    def decide(self, end: Ending) -> None:
        """Tell it COMMIT."""
        self.bus.hear(Decided(batch=self.engine.batch, outcome=Decision.COMMIT, gids=(end.gid,)))

    @property
    def withdrawn(self) -> dict[str, str]:
        """What it took back, and why."""
        return {item.gid: item.reason for message in self.bus.of(Withdrawn) for item in message.items}

    @property
    def outcomes(self) -> list[Outcome]:
        """What it reported, in order."""
        return [item.outcome for message in self.bus.of(Resolved) for item in message.items]


@pytest.fixture
def process(held_engine: SQLiteEngine, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    settings.COORDINATION_DATABASES = {ALIAS: {"two_phase": "hold"}}
    settings.COORDINATION_HOLD_LIMIT = 0.6
    monkeypatch.setattr(held, "COMMIT_SECONDS", 0.1)
    monkeypatch.setattr(held, "PROOF_SECONDS", 0.1)
    monkeypatch.setattr(holder, "STOP_SECONDS", 2.0)
    registry.close_all()
    process = Process(held_engine)
    yield process
    process.agent.stop()
    registry.close_all()


@pytest.fixture
def reader(held_engine: SQLiteEngine) -> Iterator[sqlite3.Connection]:
    """Somebody who will read, and so stand in the way of COMMIT."""
    held_engine.query("INSERT INTO thing (value) VALUES ('before')")
    connection = sqlite3.connect(held_engine.file, isolation_level=None)
    yield connection
    connection.close()


def test_asked_whether_it_still_holds(process: Process, held_engine: SQLiteEngine) -> None:
    """Its database is asked: what is gone is not named, and is taken back."""
    end = process.vote()
    assert process.ask(end) == (end.gid,) and process.withdrawn == {}
    held_engine.lose(end.gid)
    assert process.ask(end) == ()
    assert "removed or replaced" in process.withdrawn[end.gid]


def test_what_is_lost_is_taken_back_unasked(process: Process, held_engine: SQLiteEngine) -> None:
    end = process.vote()
    held_engine.lose(end.gid)
    wait_until(lambda: process.withdrawn, 5, what="the withdrawal")
    assert set(process.withdrawn) == {end.gid} and process.agent.held() == 0


def test_cut_off_it_gives_up(process: Process, held_engine: SQLiteEngine) -> None:
    """After COORDINATION_HOLD_LIMIT, and not before."""
    end = process.vote()
    began = time.monotonic()
    process.bus.connected = False
    wait_until(lambda: process.withdrawn, 5, what="the withdrawal")
    assert time.monotonic() - began > 0.5
    assert "COORDINATION_HOLD_LIMIT" in process.withdrawn[end.gid]
    wait_until(lambda: _free(held_engine), 5, what="the lock's end")


def test_what_it_has_heard_the_commit_of_is_never_given_up(
    process: Process, held_engine: SQLiteEngine, reader: sqlite3.Connection
) -> None:
    """Not when it is cut off, and not when it is stopped: COMMIT is tried until it is through."""
    end = process.vote()
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM thing").fetchall()
    process.decide(end)
    wait_until(lambda: Outcome.UNKNOWN in process.outcomes, 5, what="a COMMIT that is not through")
    process.bus.connected = False
    assert process.ask(end) == ()  # Neither yes nor no would be true.
    time.sleep(1.2)  # Twice the limit.
    assert process.withdrawn == {} and not _free(held_engine)
    reader.close()
    process.decide(end)
    wait_until(lambda: process.outcomes[-1] is Outcome.COMMITTED, 5, what="its end")
    assert held_engine.values() == ["before", "x"]


def test_stopped_it_gives_up_what_is_not_decided(process: Process, held_engine: SQLiteEngine) -> None:
    end = process.vote()
    began = time.monotonic()
    process.agent.stop()
    assert time.monotonic() - began < 1.5  # Nobody has asked: there is nothing to wait for.
    assert process.withdrawn == {end.gid: "its worker process was stopped while the task waited for the decision"}
    assert _free(held_engine) and held_engine.values() == []


def test_stopped_just_after_it_was_asked_it_waits_for_the_decision(process: Process, held_engine: SQLiteEngine) -> None:
    """The manager may have decided on the strength of that answer."""
    end = process.vote()
    assert process.ask(end) == (end.gid,)
    deciding = threading.Timer(0.3, process.decide, [end])
    deciding.start()
    process.agent.stop()
    deciding.join()
    assert (process.withdrawn, process.outcomes) == ({}, [Outcome.COMMITTED])
    assert held_engine.values() == ["x"]


def _free(engine: SQLiteEngine) -> bool:
    try:
        engine.query("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True
