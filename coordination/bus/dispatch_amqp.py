"""Publishing Celery's task messages from a node's dispatching thread, with a confirm for each."""

from collections.abc import Iterable
from typing import Any

import amqp
import kombu
from kombu.transport.pyamqp import Connection as KombuConnection

from . import address
from .blocking import CLIENT_ERRORS, ConfirmedPublisher
from .port import BusError, TaskMessage


class AmqpTaskPublisher:
    """:class:`~.port.TaskPublisher` over RabbitMQ. It connects when something is published, and when it has to."""

    def __init__(self, url: str) -> None:
        """``url`` is Celery's broker. Raises BadBrokerUrl."""
        self._declared: set[str] = set()
        self._publisher = ConfirmedPublisher(
            address.read(url), "coordination node, dispatching", prepare=self._forget, factory=KombuConnection
        )

    def publish(self, queue: kombu.Queue, exchange: str, routing_key: str, messages: Iterable[TaskMessage]) -> None:
        self._declare(queue)
        self._publisher.publish(
            (exchange, routing_key, amqp.Message(body, application_headers=dict(headers), **properties))
            for headers, properties, body in messages
        )

    def readers(self, queue: str) -> int | None:
        channel = self._publisher.channel()
        try:
            return int(channel.queue_declare(queue, passive=True).consumer_count)
        except CLIENT_ERRORS as error:
            self._publisher.drop()  # A broker that does not know the queue has closed the channel.
            if isinstance(error, amqp.NotFound):
                return 0
            raise BusError(f"asking who reads queue {queue}: {error}") from error

    def tick(self) -> None:
        self._publisher.tick()

    def close(self) -> None:
        self._publisher.close()

    def _declare(self, queue: kombu.Queue) -> None:
        channel = self._publisher.channel()
        if queue.name in self._declared:
            return
        bound: Any = queue(channel)
        try:
            bound.declare()
        except CLIENT_ERRORS as error:
            self._publisher.drop()
            raise BusError(f"declaring Celery's queue {queue.name}: {error}") from error
        self._declared.add(queue.name)

    def _forget(self, channel: Any) -> None:
        """A new connection: the broker may have lost the queues."""
        self._declared.clear()
