"""A task's message in the process that takes it from the queue, before it is given to one that runs it.

A broker that loses a worker's connection delivers again what the worker is still running. Celery would run it a second
time beside the first, and once more after the next loss: for a manager that looks like a task that kills its worker
each time. So the run that is under way takes the new delivery over, and acknowledges it when it has ended.

When a batch of thousands is rolled back early, most of its messages are still on the queue. Each would cost about as
much as a task that runs: handed to a child, traced, its end handed back. So the process that takes them remembers the
batches that its children found to be over, and drops the rest itself.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from billiard.einfo import ExceptionWithTraceback
from celery.worker.request import Request
from celery.worker.state import active_requests, task_ready

from coordination.protocol.holdings import REMEMBERED

from .execution import Dropped
from .lifecycle import agent_here
from .ticket import KEY

_over: OrderedDict[str, None] = OrderedDict()
"""Batches, by the hex of their ids, that this process's children found to be over; the oldest is forgotten first."""

_accepted: WeakValueDictionary[str, Request] = WeakValueDictionary()
"""Requests that a process has begun to run, by task id; the last of each, and also some that have ended."""


class BranchRequest(Request):
    """Celery's, which drops what is not to be run any more."""

    def revoked(self) -> bool:
        """Whether this message is not to be run; what is to become of it is settled then."""
        if super().revoked():
            return True
        if self._taken_over():
            self._already_revoked = True
            return True
        if not (self._too_late() or self._first_of_a_batch_that_is_over()):
            return False
        task_ready(self)
        self.acknowledge()
        self._already_revoked = True
        return True

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Celery's: a process has begun to run it."""
        _accepted[self.id] = self
        super().on_accepted(pid, time_accepted)

    def _taken_over(self) -> bool:
        running = _accepted.get(self.id) if self.delivery_info["redelivered"] else None
        if running is None or not self._delivers_again(running):
            return False
        # If its process dies it is this delivery that is given back to the broker.
        running._on_ack, running._on_reject, running._message = self._on_ack, self._on_reject, self._message
        return True

    def _delivers_again(self, other: Request) -> bool:
        """Whether ``other`` is this message, come by a connection that was lost. By the same one it is another one."""
        return (
            other in active_requests
            and not other.acknowledged
            and other.request_dict.get("retries") == self.request_dict.get("retries")
            and other.message.channel is not self.message.channel
        )

    def _ticket(self) -> Mapping[str, Any]:
        """As it was sent, or empty; an execution says what is wrong with it."""
        ticket = self.kwargs.get(KEY) if isinstance(self.kwargs, Mapping) else None
        return ticket if isinstance(ticket, Mapping) else {}

    def _too_late(self) -> bool:
        """Whether the batch's deadline has passed; what an execution before it has prepared is found by the sweep.

        Celery's own ``expires`` says the same, but reading it costs a tenth of what taking a message does.
        """
        deadline = self._ticket().get("deadline")
        return isinstance(deadline, float) and deadline < time.time()

    def _first_of_a_batch_that_is_over(self) -> bool:
        ticket = self._ticket()
        if not isinstance(batch := ticket.get("batch"), str):
            return False
        if batch not in _over and not _heard_here(batch):
            return False
        # An execution before it may have prepared something: then it is run, asks for that, and speaks for it at once.
        retries = self.request_dict.get("retries") or 0
        return not (ticket.get("again") or self.delivery_info["redelivered"] or retries)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Celery's; remembers what a child has found out."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, Dropped) and len(error.args) == 2:
            _over[error.args[1]] = None
            while len(_over) > REMEMBERED:
                _over.popitem(last=False)
        return super().on_failure(exc_info, send_failed_event, return_ok)


def _heard_here(batch: str) -> bool:
    """Whether the agent of this very process, if it has one, has heard that the batch is over."""
    agent = agent_here()
    if agent is None:
        return False
    try:
        return agent.is_over(UUID(hex=batch))
    except ValueError:
        return False
