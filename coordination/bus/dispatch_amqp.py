"""Publishing Celery's task messages from a node's dispatching thread, with a confirm for each."""

from collections.abc import Iterable, Mapping
from typing import Any

import amqp
import kombu
from kombu.transport.pyamqp import Connection as KombuConnection

from . import address
from .blocking import CLIENT_ERRORS, ConfirmedPublisher
from .port import BusError

TaskMessage = tuple[Mapping[str, Any], Mapping[str, Any], bytes | str]
"""Headers, AMQP properties (``content_type``, ``delivery_mode``, ``correlation_id``, ``expiration`` …), body."""


class TaskPublisher:
    """One connection for one thread. It connects when something is published, and again when it has to."""

    def __init__(self, url: str) -> None:
        """``url`` is Celery's broker. Raises BadBrokerUrl."""
        self._declared: set[str] = set()
        self._publisher = ConfirmedPublisher(
            address.read(url), "coordination node, dispatching", prepare=self._forget, factory=KombuConnection
        )

    def publish(self, queue: kombu.Queue, exchange: str, routing_key: str, messages: Iterable[TaskMessage]) -> None:
        """Publish to ``exchange`` and wait until every message is confirmed.

        ``queue`` (of Celery's ``app.amqp.queues``) is declared first, exactly as its workers declare it. Raises
        BusError; some may have arrived.
        """
        self._declare(queue)
        self._publisher.publish(
            (exchange, routing_key, amqp.Message(body, application_headers=dict(headers), **properties))
            for headers, properties, body in messages
        )

    def tick(self) -> None:
        """Keep the connection alive: its thread calls this each second or two while idle. Never raises."""
        self._publisher.tick()

    def close(self) -> None:
        """Close, by the thread that publishes. Never raises."""
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
