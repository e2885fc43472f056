"""The test services themselves: they start, survive what tests do to them, and are private."""

import amqp
import psycopg
import pytest
from redis import Redis as RedisClient

from tests.services import PostgreSQL, RabbitMQ, Redis


def test_rabbitmq_keeps_what_is_durable_when_it_is_killed(rabbitmq: RabbitMQ) -> None:
    with rabbitmq.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True, auto_delete=False)
        channel.basic_publish(amqp.Message("hello", delivery_mode=2), routing_key="kept")
    assert rabbitmq.queues()["kept"].messages == 1

    rabbitmq.kill()
    assert not rabbitmq.running
    rabbitmq.start()

    queue = rabbitmq.queues()["kept"]
    assert (queue.messages, queue.unacked, queue.consumers) == (1, 0, 0)
    rabbitmq.delete("kept")
    assert "kept" not in rabbitmq.queues()
    assert rabbitmq.connections() == []


def test_postgresql_keeps_prepared_transactions_when_it_is_killed(postgres: PostgreSQL, postgres2: PostgreSQL) -> None:
    for server in (postgres, postgres2):
        server.createdb("scratch")
        server.query("scratch", "CREATE TABLE t (n integer)")
        with server.connect("scratch") as connection:
            connection.execute("BEGIN")
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("PREPARE TRANSACTION 'a'")
            server.kill()
        server.start()
        assert server.prepared() == [("scratch", "a")]
        server.query("scratch", "COMMIT PREPARED 'a'")
        assert server.query("scratch", "SELECT n FROM t") == [(1,)]
        server.dropdb("scratch")
        assert server.connections() == 0


def test_postgresql_takes_other_settings_at_a_restart(own) -> None:
    small = own(PostgreSQL, "small", databases=["work"], max_prepared_transactions=1)
    small.query("work", "BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'one'")
    with pytest.raises(psycopg.OperationalError, match="maximum number of prepared transactions"):
        small.query("work", "BEGIN; CREATE TABLE u (); PREPARE TRANSACTION 'two'")
    small.restart("immediate", max_prepared_transactions=2)
    small.query("work", "BEGIN; CREATE TABLE u (); PREPARE TRANSACTION 'two'")
    assert len(small.prepared()) == 2


def test_redis_forgets_when_it_is_restarted(redis: Redis) -> None:
    with RedisClient(port=redis.port) as client:
        client.set("a", "b")
    redis.restart()
    with RedisClient(port=redis.port) as client:
        assert client.get("a") is None
