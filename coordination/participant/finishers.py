"""Threads that carry orders out: a few for each database, so that one that is slow or gone does not hold up the others.

A thread comes with the work and goes when it was idle for a while; connections are the resource's, kept as long.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from coordination import crashpoints
from coordination.crashpoints import Point
from coordination.protocol.holdings import Finish
from coordination.protocol.states import Outcome
from coordination.resources.base import Finished, Resource

logger = logging.getLogger(__name__)

A_THREAD_EACH = 6
"""Orders waiting for each thread before another one is started: below that a connection costs more than it saves."""

Done = Callable[[Finish, Finished], None]


class Finishers:
    """Carries out orders; ``done`` is told of each, in the thread that did it."""

    def __init__(self, resource_of: Callable[[str], Resource], done: Done, *, most: int, idle: float) -> None:
        """At most ``most`` threads an alias, each of which ends after ``idle`` seconds without work."""
        self._resource_of = resource_of
        self._done = done
        self._most = most
        self._idle = idle
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}

    def submit(self, orders: Iterable[Finish]) -> None:
        """Carry them out soon; returns at once."""
        by_alias: dict[str, list[Finish]] = {}
        for order in orders:
            by_alias.setdefault(order.item.alias, []).append(order)
        for alias, some in by_alias.items():
            with self._lock:
                lane = self._lanes.get(alias)
                if lane is None:
                    lane = self._lanes[alias] = _Lane(alias, self._carry_out, self._most, self._idle)
            lane.submit(some)

    def busy(self) -> bool:
        """Whether any order is waiting or being carried out; waits for nothing."""
        return any(lane.busy() for lane in list(self._lanes.values()))

    def stop(self, timeout: float) -> bool:
        """Finish what is ordered, at most ``timeout`` seconds long, then end. False if something was left."""
        until = time.monotonic() + timeout
        with self._lock:
            lanes = list(self._lanes.values())
        done = [lane.stop(until - time.monotonic()) for lane in lanes]
        return all(done)

    def _carry_out(self, order: Finish) -> None:
        item = order.item
        crashpoints.reach(Point.FINISHING)
        try:
            finished = self._resource_of(item.alias).finish(item.gid, item.outcome, item.proof)
        except Exception as error:  # A database this process does not have: the manager must hear that too.
            finished = Finished(outcome=Outcome.UNKNOWN, how=f"{type(error).__name__}: {error}"[:500])
        crashpoints.reach(Point.FINISHED)
        self._done(order, finished)


class _Lane:
    """One alias: its orders, and the threads at work on them."""

    def __init__(self, alias: str, carry_out: Callable[[Finish], None], most: int, idle: float) -> None:
        self._alias, self._carry_out, self._most, self._idle = alias, carry_out, most, idle
        lock = threading.Lock()
        self._work, self._rest = threading.Condition(lock), threading.Condition(lock)
        self._orders: deque[Finish] = deque()
        self._threads = self._busy = 0
        self._stopping = False

    def submit(self, orders: list[Finish]) -> None:
        """Queue them, and start threads if there are too few."""
        with self._work:
            if self._stopping:
                return
            self._orders.extend(orders)
            wanted = min(self._most, 1 + len(self._orders) // A_THREAD_EACH)
            for _ in range(wanted - self._threads):
                self._threads += 1
                threading.Thread(target=self._run, name=f"coordination-finish-{self._alias}", daemon=True).start()
            self._work.notify(len(orders))

    def busy(self) -> bool:
        """As :meth:`Finishers.busy`."""
        return bool(self._orders) or self._busy > 0

    def stop(self, timeout: float) -> bool:
        """As :meth:`Finishers.stop`."""
        with self._rest:
            done = self._rest.wait_for(lambda: not self._busy and not self._orders, max(timeout, 0))
            self._stopping = True
            self._work.notify_all()
        return done

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._stopping or bool(self._orders), self._idle)
                if not self._orders or self._stopping:
                    self._threads -= 1
                    return
                order = self._orders.popleft()
                self._busy += 1
            try:
                self._carry_out(order)
            except Exception:
                logger.exception("An order was carried out, but not reported.", extra={"batch": str(order.batch)})
            with self._work:
                self._busy -= 1
                if not self._busy and not self._orders:
                    self._rest.notify_all()
