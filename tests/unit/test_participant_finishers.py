"""Orders are carried out by a few threads for each database."""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from coordination.participant.finishers import Finishers
from coordination.protocol.holdings import Finish
from coordination.protocol.messages import OrderItem
from coordination.protocol.states import Decision, Kind, Outcome
from coordination.resources.base import Finished
from tests.services import wait_until


class Database:
    """As much of a resource as a finisher sees."""

    def __init__(self, slow: float = 0.0) -> None:
        self.slow, self.open = slow, threading.Event()
        self.at_once = self.most = 0
        self.open.set()
        self._lock = threading.Lock()

    def finish(self, gid: str, outcome: Decision, proof: str | None) -> Finished:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.open.wait(10)
        time.sleep(self.slow)
        with self._lock:
            self.at_once -= 1
        return Finished(outcome=Outcome.COMMITTED, how="done")


def orders(alias: str, count: int) -> list[Finish]:
    batch = uuid.uuid4()
    items = [OrderItem(gid=f"{alias}-{n}", outcome=Decision.COMMIT, alias=alias) for n in range(count)]
    return [Finish(batch=batch, item=item, kind=Kind.TWO_PHASE) for item in items]


def finishers(databases: dict[str, Database], idle: float = 5) -> tuple[Finishers, dict[str, Finished]]:
    done: dict[str, Finished] = {}
    resource_of: Callable[[str], Any] = databases.__getitem__
    made = Finishers(resource_of, lambda order, end: done.__setitem__(order.item.gid, end), most=4, idle=idle)
    return made, done


def test_all_are_carried_out_over_a_few_connections() -> None:
    database = Database(slow=0.002)
    made, done = finishers({"a": database})
    made.submit(orders("a", 100))
    assert made.stop(5)
    assert len(done) == 100 and {end.outcome for end in done.values()} == {Outcome.COMMITTED}
    assert 1 < database.most <= 4


def test_a_single_order_takes_a_single_thread() -> None:
    database = Database()
    made, _ = finishers({"a": database})
    for _ in range(5):
        made.submit(orders("a", 1))
    assert made.stop(5)
    assert database.most == 1


def test_a_database_that_hangs_holds_up_itself_only() -> None:
    hanging, well = Database(), Database()
    hanging.open.clear()
    made, done = finishers({"hanging": hanging, "well": well})
    made.submit(orders("hanging", 50) + orders("well", 50))
    wait_until(lambda: len(done) == 50, 5, what="the other database's")
    assert {gid.split("-")[0] for gid in done} == {"well"}
    assert not made.stop(0.05)
    hanging.open.set()


def test_what_cannot_be_done_is_reported_as_unknown() -> None:
    """Such as in a database this process does not have."""
    made, done = finishers({})
    made.submit(orders("nowhere", 1))
    assert made.stop(5)
    assert done["nowhere-0"].outcome is Outcome.UNKNOWN and "nowhere" in done["nowhere-0"].how


def test_idle_threads_end_and_come_back() -> None:
    made, done = finishers({"a": Database()}, idle=0.05)

    def at_work() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name == "coordination-finish-a"]

    made.submit(orders("a", 30))
    wait_until(lambda: len(done) == 30 and not at_work(), 5, what="the threads' end")
    made.submit(orders("a", 3))
    assert made.stop(5)
    assert len(done) == 30  # The same gids again.
