"""What a task's body may do in a branch, and what becomes of it when it does something else."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, connections, transaction
from django.db.models import Max
from django.db.transaction import TransactionManagementError

from coordination.protocol.attempt import Prepared
from coordination.protocol.states import Decision, Outcome
from demo.models import DemoEntry
from tests.contract.engines import ALIAS, Ending, Engine, insert


def do(db: str, sql: str, params: Any = None) -> Any:
    """One statement through Django's cursor."""
    with connections[db].cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else None


def nothing_left(engine: Engine, end: Ending) -> None:
    """It was not prepared, nothing of it can be seen, and the next body is not disturbed."""
    assert end.prepared is not Prepared.DONE
    assert engine.prepared() == []
    assert engine.values() == []
    assert engine.run(insert("the next")).prepared is Prepared.DONE


@pytest.fixture
def engine(any_engine: Engine) -> Engine:
    """Each in turn: what a body may do does not depend on how its promise is kept."""
    return any_engine


# --- healthy ----------------------------------------------------------------------------------------------------


@pytest.fixture
def entries(engine: Engine) -> Engine:
    """The engine with a model's table."""
    with connections[ALIAS].schema_editor() as editor:
        editor.create_model(DemoEntry)
    return engine


def orm(engine: Engine, db: str, *numbers: int) -> None:
    DemoEntry.objects.using(db).bulk_create(DemoEntry(batch_id=engine.batch, branch=1, n=n, value="") for n in numbers)


def plain_orm(engine: Engine, db: str) -> None:
    orm(engine, db, 1, 2)
    DemoEntry.objects.using(db).filter(n=2).update(value="two")
    DemoEntry.objects.using(db).create(batch_id=engine.batch, branch=1, n=3, value="").delete()


def nested_atomic(engine: Engine, db: str) -> None:
    with transaction.atomic(using=db):
        orm(engine, db, 1)
        with transaction.atomic(using=db):
            orm(engine, db, 2)


def inner_undone(engine: Engine, db: str) -> None:
    def fails() -> None:
        with transaction.atomic(using=db):
            orm(engine, db, 3)
            raise ZeroDivisionError

    orm(engine, db, 1, 2)
    with pytest.raises(ZeroDivisionError):
        fails()


def error_undone(engine: Engine, db: str) -> None:
    orm(engine, db, 1, 2)
    with pytest.raises(IntegrityError), transaction.atomic(using=db):
        do(db, "INSERT INTO demo_entry (batch_id) VALUES (NULL)")


def get_or_create(engine: Engine, db: str) -> None:
    for n in (1, 2, 1):
        DemoEntry.objects.using(db).get_or_create(batch_id=engine.batch, branch=1, n=n, defaults={"value": ""})


def iterator_half_read(engine: Engine, db: str) -> None:
    orm(engine, db, 1, 2)
    next(DemoEntry.objects.using(db).iterator(chunk_size=1))


def asynchronous(engine: Engine, db: str) -> None:
    async def work() -> None:
        for n in (1, 2):
            await DemoEntry.objects.using(db).acreate(batch_id=engine.batch, branch=1, n=n, value="")
            await asyncio.sleep(0)

    async_to_sync(work)()


@pytest.mark.parametrize(
    "body",
    [plain_orm, nested_atomic, inner_undone, error_undone, get_or_create, iterator_half_read, asynchronous],
)
def test_healthy_bodies_are_prepared(entries: Engine, body: Callable[..., None]) -> None:
    """All of it is in one transaction: nothing to be seen before the commit, all of it after."""
    end = entries.run(lambda db: body(entries, db))
    assert (end.words, end.prepared) == ("", Prepared.DONE)
    assert entries.query("SELECT count(*) FROM demo_entry") == [(0,)]
    assert entries.resource.finish(end.gid, Decision.COMMIT, end.proof).outcome is Outcome.COMMITTED
    assert entries.query("SELECT n FROM demo_entry ORDER BY n") == [(1,), (2,)]


def test_only_reads_have_nothing_to_prepare(entries: Engine) -> None:
    end = entries.run(lambda db: DemoEntry.objects.using(db).aggregate(Max("n")))
    assert (end.problem, end.wrote) == (None, not entries.knows_reads)
    assert entries.prepared() == ([] if entries.knows_reads else [end.gid])


def test_rows_are_counted(engine: Engine) -> None:
    def body(db: str) -> None:
        do(db, "INSERT INTO thing (value) VALUES ('x'), ('x'), ('x'), ('x'), ('x'), ('x'), ('x')")
        do(db, "UPDATE thing SET value = 'y' WHERE id IN (SELECT id FROM thing LIMIT 3)")
        with connections[db].cursor() as cursor:
            cursor.executemany("INSERT INTO thing (value) VALUES (%s)", [["a"], ["b"]])

    assert engine.run(body).rows == 12


# --- refused at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda db: connections[db].commit(),
        lambda db: connections[db].rollback(),
        lambda db: transaction.commit(using=db),
        lambda db: connections[db].set_autocommit(True),
    ],
)
def test_django_refuses_to_end_the_transaction(engine: Engine, forbidden: Callable[[str], None]) -> None:
    def body(db: str) -> None:
        insert("x")(db)
        forbidden(db)

    end = engine.run(body)
    assert isinstance(end.error, TransactionManagementError)
    nothing_left(engine, end)


def test_a_durable_block_is_refused(engine: Engine) -> None:
    """Because an Atomic was really entered."""

    def body(db: str) -> None:
        with transaction.atomic(using=db, durable=True):
            insert("x")(db)

    end = engine.run(body)
    assert "durable" in str(end.error)
    nothing_left(engine, end)


@pytest.mark.parametrize(
    "sql",
    ["COMMIT", "commit;", "/*x*/ COMMIT", "-- x\n END", "ROLLBACK", "ABORT", "BEGIN", "START TRANSACTION", ";COMMIT"],
)
@pytest.mark.parametrize("swallowed", [False, True])
def test_transaction_statements_are_refused(engine: Engine, sql: str, swallowed: bool) -> None:
    """Swallowed or not, it is a ROLLBACK vote."""

    def body(db: str) -> None:
        insert("x")(db)
        try:
            do(db, sql)
        except Exception:
            if not swallowed:
                raise

    end = engine.run(body)
    assert "must not end or begin a transaction" in end.words
    nothing_left(engine, end)


@pytest.mark.parametrize("using", [ALIAS, None])
@pytest.mark.parametrize("swallowed", [False, True])
def test_on_commit_is_refused(engine: Engine, using: str | None, swallowed: bool) -> None:
    """Also on ``default``, where Django would call it at once; and the way out is named."""
    called: list[int] = []

    def body(db: str) -> None:
        insert("x")(db)
        try:
            transaction.on_commit(lambda: called.append(1), using=using)
        except Exception:
            if not swallowed:
                raise

    end = engine.run(body)
    assert "on_committed=" in end.words
    assert called == []
    nothing_left(engine, end)


@pytest.mark.parametrize("swallowed", [False, True])
def test_other_databases_may_be_read_and_not_written(engine: Engine, swallowed: bool) -> None:
    def body(db: str) -> None:
        insert("x")(db)
        assert do("default", "SELECT 1") == [(1,)]
        try:
            do("default", "/* x */ insert into coordination_node (name) values ('x')")
        except Exception:
            if not swallowed:
                raise

    end = engine.run(body)
    assert "may only read from 'default'" in end.words
    nothing_left(engine, end)


def test_the_guard_goes_with_the_body(engine: Engine) -> None:
    """What others do in this thread afterwards is none of our business."""
    engine.run(insert("x"))
    for alias in connections:
        assert connections[alias].execute_wrappers == []
        assert "on_commit" not in vars(connections[alias])
    called: list[int] = []
    transaction.on_commit(lambda: called.append(1), using=ALIAS)
    assert called == [1]
