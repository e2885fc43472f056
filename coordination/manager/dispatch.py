"""Sending a batch's tasks: Celery messages whose headers are built once per task name, id and body replaced.

One thread with a connection of its own; a chunk counts as sent when the broker has confirmed every message in it.
"""

import json
import socket
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from celery import current_app
from django.db import DEFAULT_DB_ALIAS, connections

from coordination.bus.choose import task_publisher
from coordination.bus.port import TaskMessage, TaskPublisher
from coordination.journal.pool import in_this_thread
from coordination.participant.ticket import KEY, Ticket

Row = tuple[UUID, int, str, str, str, Any]
"""Branch id, number, task, name, alias, args."""


class Dispatcher:
    """The node's dispatching thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dispatch")
        self._publisher: TaskPublisher | None = None

    def submit(self, work: Callable[..., Any], *args: Any) -> Any:
        """``work(*args)`` in the thread; the future of its result."""
        return self._thread.submit(work, *args)

    def publish(
        self, batch: UUID, numbers: Sequence[int], *, of: int, queue: str, deadline: float, again: bool
    ) -> None:
        """Send the tasks of these branches and wait for every confirm. In the thread. Raises BusError, JournalError.

        ``queue`` is the customer's (empty: Celery routes the task as ever); ``deadline`` in seconds since 1970.
        """
        by_task: dict[str, list[Row]] = defaultdict(list)
        for row in in_this_thread(_rows, batch, numbers):
            by_task[row[2]].append(row)
        for task, rows in by_task.items():
            route = _route(task, queue)
            messages = _messages(task, rows, batch=batch, of=of, deadline=deadline, again=again)
            self._open().publish(route["queue"], route["exchange"], route["routing_key"], messages)

    def queues(self, batch: UUID, queue: str) -> list[str]:
        """The names of the queues to which the tasks of ``batch`` go. In the thread. Raises JournalError."""
        return sorted({_route(task, queue)["queue"].name for task in in_this_thread(_tasks, batch)})

    def readers(self, queue: str) -> int | None:
        """How many workers read that queue; None if nobody can tell. In the thread. Raises BusError."""
        return self._open().readers(queue)

    def send_signature(self, signature: Mapping[str, Any]) -> None:
        """Send a callback of the launch. In the thread. Raises what Celery raises."""
        current_app.signature(dict(signature)).apply_async()

    def tick(self) -> None:
        """Keep the idle connection alive. In the thread."""
        if self._publisher is not None:
            self._publisher.tick()

    def close(self) -> None:
        """End the thread when what it does is done; does not wait."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _open(self) -> TaskPublisher:
        if self._publisher is None:
            self._publisher = task_publisher(str(current_app.conf.broker_write_url or current_app.conf.broker_url))
        return self._publisher

    def _close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        connections[DEFAULT_DB_ALIAS].close()


def _rows(batch: UUID, numbers: Sequence[int]) -> list[Row]:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT id, number, task, name, alias, args FROM coordination_branch"
            " WHERE batch_id = %s AND number = ANY(%s) ORDER BY number",
            [batch, list(numbers)],
        )
        return list(cursor.fetchall())


def _tasks(batch: UUID) -> list[str]:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT DISTINCT task FROM coordination_branch WHERE batch_id = %s", [batch])
        return [row[0] for row in cursor.fetchall()]


def _route(task: str, queue: str) -> dict[str, Any]:
    """Queue (kombu's), exchange and routing key of a task, by Celery's own rules."""
    options = {"queue": queue} if queue else {}
    route = current_app.amqp.router.route(options, task)
    found = route["queue"]
    if isinstance(found, str):
        found = current_app.amqp.queues[found]
    exchange = route.get("exchange") or found.exchange
    return {
        "queue": found,
        "exchange": getattr(exchange, "name", exchange) or "",
        "routing_key": route.get("routing_key") or found.routing_key or found.name,
    }


def _messages(
    task: str, rows: Sequence[Row], *, batch: UUID, of: int, deadline: float, again: bool
) -> Iterator[TaskMessage]:
    template = current_app.amqp.as_task_v2(
        str(rows[0][0]), task, args=(), kwargs={}, argsrepr="(…)", kwargsrepr="{…}",
        origin=f"coordination@{socket.gethostname()}",
    )  # fmt: skip
    embed = template.body[2]
    base = {name: value for name, value in template.headers.items() if value is not None}
    for id_, number, _, name, alias, args in rows:
        body = json.loads(args) if isinstance(args, str) else args
        ticket = Ticket(batch=batch, number=number, of=of, name=name, alias=alias, deadline=deadline, again=again)
        kwargs = {**body.get("kwargs", {}), KEY: ticket.plain()}
        task_id = str(id_)
        yield (
            {**base, "id": task_id, "root_id": task_id},
            {
                "content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2,
                "correlation_id": task_id,
            },
            json.dumps([body.get("args", []), kwargs, embed]),
        )  # fmt: skip
