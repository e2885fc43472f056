"""Stands in for a manager, so that a test of workers decides what they are told, and when."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import amqp

from coordination import conf
from coordination.bus.topology import BATCH_ARGUMENTS, Topology, batch_binding
from coordination.participant.ticket import KEY, Ticket
from coordination.protocol import gid as gids
from coordination.protocol.encoding import decode, encode
from coordination.protocol.messages import (
    Decided,
    Message,
    Order,
    OrderItem,
    Resolved,
    ResolvedItem,
    Started,
    StartedItem,
    ToAgent,
    VoteItem,
    Votes,
)
from coordination.protocol.states import Decision
from orchestrator_site.celery import app
from tests.services import RabbitMQ


class Manager:
    """One batch: declares its queue, sends its tasks, reads what agents say, and says what the test tells it to."""

    def __init__(self, rabbitmq: RabbitMQ, *, of: int = 1, deadline: float = 600, queue: str = "celery") -> None:
        self.batch = uuid.uuid4()
        self.heard: list[Message] = []
        self.processes: dict[str, str] = {}
        """Which process voted for a gid."""
        self._of, self._deadline = of, time.time() + deadline
        self._rabbitmq = rabbitmq
        self.tasks_queue = queue
        """Celery's queue, so that a test can keep the tasks to a worker of its own."""
        self.names = Topology(conf.installation())
        self._queue = self.names.batch_queue(self.batch)
        self.connect()

    def connect(self) -> None:
        """Connect, and declare what a manager declares; again after the broker was away."""
        self._connection = self._rabbitmq.connect()
        self._channel = self._connection.channel()
        for exchange, kind, arguments in self.names.exchanges:
            self._channel.exchange_declare(exchange, kind, durable=True, auto_delete=False, arguments=arguments or None)
        self._channel.queue_declare(self._queue, durable=True, auto_delete=False, arguments=BATCH_ARGUMENTS)
        self._channel.queue_bind(self._queue, self.names.votes, batch_binding(self.batch))

    def send(self, task: str, *args: Any, number: int = 1, alias: str, again: bool = False, **kwargs: Any) -> str:
        """Dispatch a branch; returns the Celery task id."""
        ticket = Ticket(
            batch=self.batch, number=number, of=self._of, name="a task", alias=alias, deadline=self._deadline,
            again=again,
        )  # fmt: skip
        result = app.send_task(
            task, args, {**kwargs, KEY: ticket.plain()}, task_id=str(uuid.uuid4()), queue=self.tasks_queue
        )
        return str(result.id)

    def wait(self, enough: Callable[[], Any], timeout: float = 20) -> Any:
        """Read what arrives until ``enough()`` is true, and return that."""
        until = time.monotonic() + timeout
        while not (result := enough()):
            assert time.monotonic() < until, f"waited {timeout} s in vain; heard {self.heard}"
            message = self._channel.basic_get(self._queue, no_ack=True)
            if message is None:
                time.sleep(0.002)
                continue
            self.heard.append(decode(message.body if isinstance(message.body, bytes) else message.body.encode()))
        return result

    @property
    def votes(self) -> list[VoteItem]:
        """All votes so far."""
        for message in self.heard:
            if isinstance(message, Votes):
                self.processes.update((item.gid, message.process) for item in message.items)
        return [item for message in self.heard if isinstance(message, Votes) for item in message.items]

    @property
    def starts(self) -> list[StartedItem]:
        """All starts so far."""
        return [item for message in self.heard if isinstance(message, Started) for item in message.items]

    @property
    def attempts(self) -> dict[str, int | None]:
        """Attempts by token, with Celery's retries; a vote that was there before its start had left says both."""
        known: dict[str, int | None] = dict.fromkeys(
            parts.token for vote in self.votes if (parts := gids.parse(vote.gid)) is not None
        )
        return known | {start.token: start.retries for start in self.starts}

    @property
    def ends(self) -> dict[str, ResolvedItem]:
        """What was reported of each gid, last."""
        return {item.gid: item for message in self.heard if isinstance(message, Resolved) for item in message.items}

    def tell(self, process: str, message: ToAgent) -> None:
        """Publish to one mailbox (or ``all``)."""
        self.tell_raw(process, encode(message))

    def tell_raw(self, process: str, body: bytes) -> None:
        """Publish anything to one mailbox."""
        self._channel.basic_publish(amqp.Message(body, delivery_mode=2), self.names.decisions, process)

    def recover(self, alias: str, message: Order) -> None:
        """Publish to the recovery queue of an alias."""
        queue = self.names.recovery_queue(alias)
        self._channel.basic_publish(amqp.Message(encode(message), delivery_mode=2), "", queue)

    def decide(self, decision: Decision, votes: list[VoteItem]) -> None:
        """Tell each process that voted, as a manager does."""
        mine = self.votes and self.processes
        for process in {mine[vote.gid] for vote in votes}:
            gids = tuple(vote.gid for vote in votes if mine[vote.gid] == process)
            said = gids if decision is Decision.COMMIT else ()
            self.tell(process, Decided(batch=self.batch, outcome=decision, gids=said))

    def order(self, vote: VoteItem, outcome: Decision) -> Order:
        """An order for one gid."""
        item = OrderItem(gid=vote.gid, outcome=outcome, alias=vote.alias, proof=vote.proof)
        return Order(batch=self.batch, items=(item,))

    def close(self) -> None:
        """Delete the batch's queue, and the tasks' if it was their own."""
        self._channel.queue_delete(self._queue)
        if self.tasks_queue != "celery":
            self._channel.queue_delete(self.tasks_queue)
        self._connection.close()
