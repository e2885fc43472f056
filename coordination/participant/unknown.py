"""A task of a batch that this worker does not know: Celery throws its message away, and nobody else would hear of it.

So the worker votes ``ROLLBACK`` for the branch, and the batch ends with a reason that tells what to mend. A worker
of prefork has no agent where this happens, in the parent of its children: the vote leaves over a connection of its own.
"""

import logging
import secrets
import socket
from collections import deque
from typing import Any
from uuid import UUID

from celery.signals import task_unknown

from coordination import conf
from coordination.bus.choose import agent_bus
from coordination.bus.port import BusError
from coordination.protocol import gid as gids
from coordination.protocol.encoding import encode
from coordination.protocol.messages import Failure, VoteItem, Votes
from coordination.protocol.states import Decision, Kind

from .ticket import KEY, BadTicket, Ticket

logger = logging.getLogger(__name__)

_said: deque[UUID] = deque(maxlen=1000)
"""Batches of which it was said: one vote is enough for each."""


def connect_signals() -> None:
    """Vote when Celery says that a task is unknown."""
    task_unknown.connect(_unknown, weak=False)


def _unknown(sender: Any = None, message: Any = None, name: str = "", **kwargs: Any) -> None:
    try:
        ticket = Ticket.read(message.payload[1].get(KEY))
    except (BadTicket, LookupError, TypeError, AttributeError, ValueError):
        return  # no task of a batch
    if ticket.batch not in _said:
        try:
            _vote(ticket, name, str(getattr(sender, "hostname", "")) or socket.gethostname())
        except BusError as error:
            logger.warning("Batch %s is not told that task %s is unknown here: %s", ticket.batch, name, error)
        else:
            _said.append(ticket.batch)


def _vote(ticket: Ticket, task: str, worker: str) -> None:
    process = f"{socket.gethostname()[:60]}-unknown-{secrets.token_hex(4)}"
    installation = conf.installation()
    gid = gids.build(
        installation=installation, batch=ticket.batch, branch=ticket.number, round=0, token=secrets.token_hex(8)
    )
    words = f"worker {worker} does not know task {task}: give it the code that has it and restart it, then launch again"
    item = VoteItem(
        vote=Decision.ROLLBACK, gid=gid, members=(ticket.number,), round=0, alias=ticket.alias, kind=Kind.TWO_PHASE,
        error=Failure(type="NotRegistered", message=words),
    )  # fmt: skip
    bus = agent_bus(conf.broker_url(), installation, process, [])
    try:
        body = encode(Votes(batch=ticket.batch, process=process, items=(item,)))
        bus.publish([(ticket.batch, ticket.number, body)])
    finally:
        bus.close(delete_mailbox=False)
