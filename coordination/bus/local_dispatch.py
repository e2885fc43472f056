"""Handing Celery's task messages to a worker in this process, over Celery's own transport for that."""

from collections.abc import Iterable
from typing import Any

import kombu
from kombu.exceptions import KombuError

from .port import BusError, TaskMessage

HEADED = ("content_type", "content_encoding")
"""Properties that kombu keeps beside the others."""


class LocalTaskPublisher:
    """:class:`~.port.TaskPublisher` over kombu's ``memory://``, where a message put is a message there."""

    def __init__(self, url: str) -> None:
        """``url`` is Celery's broker."""
        self._connection: Any = kombu.Connection(url)  # type: ignore[no-untyped-call]
        self._channel: Any = None
        self._declared: set[str] = set()

    def publish(self, queue: kombu.Queue, exchange: str, routing_key: str, messages: Iterable[TaskMessage]) -> None:
        try:
            channel = self._open()
            if queue.name not in self._declared:
                bound: Any = queue(channel)
                bound.declare()
                self._declared.add(queue.name)
            for headers, properties, body in messages:
                others = {name: value for name, value in properties.items() if name not in HEADED}
                headed = {name: properties.get(name) for name in HEADED}
                message = channel.prepare_message(body, headers=dict(headers), properties=others, **headed)
                channel.basic_publish(message, exchange, routing_key)
        except (KombuError, OSError) as error:
            raise BusError(f"handing tasks to Celery's queue {queue.name}: {error}") from error

    def readers(self, queue: str) -> int | None:
        return None

    def tick(self) -> None:
        """There is no connection to keep alive."""

    def close(self) -> None:
        self._connection.release()

    def _open(self) -> Any:
        if self._channel is None:
            self._channel = self._connection.channel()
        return self._channel
