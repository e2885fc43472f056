"""A body whose batch is over is ended (``Work.interrupt``), and nothing else ever is."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction

from coordination.protocol.attempt import Prepared
from coordination.resources import postgresql_work
from coordination.resources.base import Resource, Work
from coordination.resources.enlisted import BatchIsOver
from tests.contract.engines import ALIAS, PostgreSQLEngine, insert
from tests.services import wait_until
from tests.services.proxy import Proxy

ROUNDS = 100


def ask(db: str, sql: str) -> None:
    with connections[db].cursor() as cursor:
        cursor.execute(sql)


def begin(engine: PostgreSQLEngine, resource: Resource | None = None) -> Work:
    made = resource or engine.resource
    return made.begin(gid=engine.gid(), batch=engine.batch, branch=1, ask=False, lock_timeout=30)


def end(work: Work) -> None:
    work.undo()
    work.release()


def later(engine: PostgreSQLEngine, work: Work, running: str, answers: list[bool]) -> threading.Thread:
    """Interrupts ``work`` from another thread, once the server is at a statement like ``running``."""

    def wait_and_interrupt() -> None:
        sql = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE %s"
        wait_until(lambda: engine.query(sql, [f"%{running}%"]), 20, every=0.01, what="the statement")
        answers.append(work.interrupt())

    thread = threading.Thread(target=wait_and_interrupt)
    thread.start()
    return thread


def test_a_running_statement_is_cancelled(engine: PostgreSQLEngine) -> None:
    """And the connection is not used again: whatever is still under way to the server hits nobody."""
    work, answers, began = begin(engine), list[bool](), time.monotonic()
    backend = connections[ALIAS].connection.info.backend_pid
    interrupting = later(engine, work, "pg_sleep", answers)
    with pytest.raises(OperationalError, match="user request"):
        ask(ALIAS, "SELECT pg_sleep(60)")
    interrupting.join()
    assert answers == [True] and time.monotonic() - began < 30
    end(work)
    after = begin(engine)
    assert connections[ALIAS].connection.info.backend_pid != backend
    end(after)
    assert engine.values() == []


def test_the_next_statement_is_refused(engine: PostgreSQLEngine) -> None:
    """A body between two statements; savepoints it is in can be given up, and swallowing the refusal is no use."""
    work = begin(engine)

    def body() -> None:
        with transaction.atomic(using=ALIAS):
            insert("x")(ALIAS)
            assert work.interrupt()
            insert("y")(ALIAS)

    with pytest.raises(BatchIsOver):
        body()
    with pytest.raises(BatchIsOver):
        ask(ALIAS, "SELECT 1")
    end(work)
    assert engine.values() == []


def test_a_body_that_has_ended_is_not_interrupted(engine: PostgreSQLEngine) -> None:
    work = begin(engine)
    insert("x")(ALIAS)
    assert work.problem() is None
    assert not work.interrupt()
    assert work.prepare() == (Prepared.DONE, None)
    work.release()
    assert not work.interrupt()


def test_prepare_is_not_interrupted(engine: PostgreSQLEngine) -> None:
    """It takes a second, because of a deferred constraint; asked to end meanwhile, it does not hear of that."""
    engine.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON thing DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    work, answers = begin(engine), list[bool]()
    insert("x")(ALIAS)
    assert work.problem() is None and work.wrote()
    interrupting = later(engine, work, "PREPARE TRANSACTION", answers)
    assert work.prepare() == (Prepared.DONE, None)
    interrupting.join()
    assert answers == [False]
    work.release()


@pytest.fixture
def slow_network(engine: PostgreSQLEngine) -> Iterator[tuple[Proxy, Resource]]:
    """The database behind a proxy."""
    before = connections.settings[ALIAS]["PORT"]
    with Proxy(engine.server.port) as proxy:
        connections.settings[ALIAS]["PORT"] = proxy.port
        yield proxy, engine.make(ALIAS)
        connections.settings[ALIAS]["PORT"] = before


def test_one_that_comes_late_hits_nobody(
    engine: PostgreSQLEngine, slow_network: tuple[Proxy, Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request to cancel is on the way for a second, when the next task is at work."""
    monkeypatch.setattr(postgresql_work, "INTERRUPT_SECONDS", 0.2)
    proxy, resource = slow_network
    work = begin(engine, resource)
    proxy.delay(1)
    assert work.interrupt()
    proxy.delay(0)
    end(work)
    after = begin(engine, resource)
    ask(ALIAS, "SELECT pg_sleep(2)")
    insert("x")(ALIAS)
    assert after.problem() is None
    end(after)


def test_interrupts_at_any_moment(engine: PostgreSQLEngine) -> None:
    """Every second of many short executions is interrupted, in its body or just after it; no other notices."""
    hit = 0
    for number in range(ROUNDS):
        work = begin(engine)
        timer = threading.Timer(number / ROUNDS * 0.02, work.interrupt)
        if number % 2:
            timer.start()
        try:
            for _ in range(3):
                ask(ALIAS, "SELECT pg_sleep(0.003)")
            insert("x")(ALIAS)
            problem = work.problem()
        except (DatabaseError, BatchIsOver):
            assert number % 2, "one that nobody interrupted was hit"
            hit += 1
        else:
            assert problem is None
        end(work)
        if number % 4 == 3:
            timer.join()
    print(f"{hit} of {ROUNDS // 2} were ended in their bodies")
    assert hit
