"""Publishing Celery's messages ourselves, read as Celery's workers read them: over a real broker, and in memory."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import celery
import kombu
import pytest

from coordination.bus.choose import task_publisher
from coordination.bus.port import BusError, TaskMessage, TaskPublisher
from tests.services import RabbitMQ
from tests.services.proxy import Proxy


@pytest.fixture
def server(breakable_rabbitmq: RabbitMQ) -> RabbitMQ:
    """A broker that these tests may break, running."""
    breakable_rabbitmq.start()
    return breakable_rabbitmq


EITHER = pytest.mark.parametrize("url", ["memory://", ""], indirect=True, ids=["local", "rabbitmq"])


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Celery's broker: RabbitMQ, unless the test says otherwise."""
    given: str = getattr(request, "param", "")
    return given or str(request.getfixturevalue("server").url)


@pytest.fixture
def app(url: str) -> Iterator[celery.Celery]:
    """Somebody's Celery application."""
    app = celery.Celery("somebody", broker=url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def publisher(url: str) -> Iterator[TaskPublisher]:
    publisher = task_publisher(url)
    yield publisher
    publisher.close()


@pytest.fixture
def queue(app: celery.Celery) -> kombu.Queue:
    """A queue that Celery makes when it is first named."""
    return app.amqp.queues[f"loads-{uuid4().hex[:8]}"]


def messages(app: celery.Celery, count: int) -> list[TaskMessage]:
    """As Celery would send them."""
    made: list[TaskMessage] = []
    for n in range(count):
        task = app.amqp.as_task_v2(str(uuid4()), "somebody.add", (n, 1), {})
        headers = {name: value for name, value in task.headers.items() if value is not None}
        content_type, encoding, body = kombu.serialization.dumps(task.body, serializer="json")
        properties = {
            **task.properties,
            "content_type": content_type,
            "content_encoding": encoding,
            "delivery_mode": 2,
        }
        made.append((headers, {name: value for name, value in properties.items() if value is not None}, body))
    return made


def read(app: celery.Celery, queue: kombu.Queue) -> list[Any]:
    """All task messages in `queue`, declared and read the way a worker does."""
    found: list[Any] = []
    with app.connection() as connection, connection.channel() as channel:
        bound: Any = queue(channel)
        bound.declare()
        while message := bound.get(accept=["json"]):
            found.append((message.headers["task"], message.payload[0]))
            message.ack()
    return found


@EITHER
def test_a_worker_finds_what_was_published(app: celery.Celery, publisher: TaskPublisher, queue: kombu.Queue) -> None:
    publisher.publish(queue, "", queue.name, messages(app, 1200))
    publisher.publish(queue, queue.exchange.name, queue.routing_key, messages(app, 1))
    publisher.publish(queue, "", queue.name, [])
    assert read(app, queue) == [("somebody.add", [n, 1]) for n in [*range(1200), 0]]


@EITHER
def test_a_queue_declared_by_celery_is_the_same(
    app: celery.Celery, publisher: TaskPublisher, queue: kombu.Queue
) -> None:
    assert read(app, queue) == []
    publisher.publish(queue, "", queue.name, messages(app, 1))
    assert len(read(app, queue)) == 1


def test_who_reads_a_queue(
    app: celery.Celery, server: RabbitMQ, publisher: TaskPublisher, queue: kombu.Queue
) -> None:
    assert publisher.readers(queue.name) == 0
    publisher.publish(queue, "", queue.name, messages(app, 1))
    assert publisher.readers(queue.name) == 0
    with app.connection() as connection, connection.channel() as channel:
        reader: Any = kombu.Consumer(channel, [queue], callbacks=[lambda body, message: None])
        reader.consume()
        assert publisher.readers(queue.name) == 1
    server.kill()
    with pytest.raises(BusError):
        publisher.readers(queue.name)


def test_in_memory_nobody_can_tell_who_reads_a_queue() -> None:
    publisher = task_publisher("memory://")
    assert publisher.readers("celery") is None
    publisher.close()


def test_a_deleted_queue_is_an_error_once(
    app: celery.Celery, server: RabbitMQ, publisher: TaskPublisher, queue: kombu.Queue
) -> None:
    publisher.publish(queue, "", queue.name, messages(app, 1))
    server.delete(queue.name)
    with pytest.raises(BusError, match="3 reached no queue"):
        publisher.publish(queue, "", queue.name, messages(app, 3))
    publisher.publish(queue, "", queue.name, messages(app, 3))
    assert len(read(app, queue)) == 3


def test_a_queue_that_exists_otherwise_is_an_error_that_says_so(
    app: celery.Celery, server: RabbitMQ, publisher: TaskPublisher, queue: kombu.Queue
) -> None:
    with server.connect() as connection:
        connection.channel().queue_declare(queue.name, durable=False, auto_delete=False)
    with pytest.raises(BusError, match=f"{queue.name}.*inequivalent"):
        publisher.publish(queue, "", queue.name, messages(app, 1))


def test_a_broker_that_dies_is_an_error_and_confirmed_tasks_survive(
    app: celery.Celery, server: RabbitMQ, publisher: TaskPublisher, queue: kombu.Queue
) -> None:
    publisher.publish(queue, "", queue.name, messages(app, 100))
    server.kill()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(BusError):
            publisher.publish(queue, "", queue.name, messages(app, 1))
        publisher.tick()
        assert time.monotonic() - began < 1
    server.start()
    publisher.publish(queue, "", queue.name, messages(app, 1))
    assert len(read(app, queue)) == 101


def test_a_broker_that_answers_nothing_is_given_up(app: celery.Celery, server: RabbitMQ, queue: kombu.Queue) -> None:
    with Proxy(server.port) as proxy:
        publisher = task_publisher(server.url.replace(str(server.port), str(proxy.port)))
        publisher.publish(queue, "", queue.name, messages(app, 1))
        proxy.black_hole()
        began = time.monotonic()
        with pytest.raises(BusError, match="did not confirm"):
            publisher.publish(queue, "", queue.name, messages(app, 1))
        assert time.monotonic() - began < 6
        proxy.pass_on()
        publisher.publish(queue, "", queue.name, messages(app, 1))
        publisher.close()


def test_ten_thousand_tasks_are_confirmed_in_seconds(
    app: celery.Celery, publisher: TaskPublisher, queue: kombu.Queue
) -> None:
    ready = messages(app, 10_000)
    began = time.monotonic()
    publisher.publish(queue, "", queue.name, ready)
    took = time.monotonic() - began
    print(f"{10_000 / took:,.0f} tasks a second")
    assert took < 10
