"""What a body did behind Django's back, found out by asking the database before anything is prepared."""

import contextlib
import threading
from collections.abc import Callable

import pytest
from django.db import DatabaseError, connections, transaction

from coordination.protocol.attempt import Prepared
from coordination.protocol.states import Decision
from tests.contract.engines import PostgreSQLEngine, insert
from tests.contract.test_bodies import do, nothing_left
from tests.services import wait_until


def swallow(db: str, sql: str) -> None:
    with contextlib.suppress(DatabaseError):
        do(db, sql)


def test_a_swallowed_database_error(engine: PostgreSQLEngine) -> None:
    """Row 18. The server would answer ROLLBACK to PREPARE, without any error."""

    def body(db: str) -> None:
        insert("x", 1)(db)
        swallow(db, "INSERT INTO thing (id) VALUES (1)")

    end = engine.run(body)
    assert "swallowed a database error" in end.words and "duplicate key" in end.words
    nothing_left(engine, end)


def test_a_swallowed_error_past_our_watch(engine: PostgreSQLEngine) -> None:
    """Row 18. On the driver's own cursor, where nobody listens: the server knows."""

    def body(db: str) -> None:
        insert("x", 1)(db)
        with pytest.raises(Exception, match="duplicate key"):
            connections[db].connection.execute("INSERT INTO thing (id) VALUES (1)")

    end = engine.run(body)
    assert "swallowed a database error" in end.words
    nothing_left(engine, end)


def test_an_error_undone_by_the_wrong_savepoint_counts(engine: PostgreSQLEngine) -> None:
    """Only a savepoint from before the error undoes it; an error of the driver's own makes no difference."""

    def body(db: str) -> None:
        insert("x", 1)(db)
        with connections[db].cursor() as cursor:
            with pytest.raises(DatabaseError):
                cursor.execute("SELECT %s", ["\x00"])  # Never reaches the server, but was not undone either.
            cursor.execute("SAVEPOINT later")
            cursor.execute("ROLLBACK TO SAVEPOINT later")

    end = engine.run(body)
    assert "swallowed a database error" in end.words
    nothing_left(engine, end)


@pytest.mark.parametrize(
    "commit",
    [
        lambda db: connections[db].connection.commit(),
        lambda db: do(db, "INSERT INTO thing (value) VALUES ('y'); COMMIT; INSERT INTO thing (value) VALUES ('z')"),
    ],
    ids=["driver", "in one string"],
)
def test_a_commit_of_its_own(engine: PostgreSQLEngine, commit: Callable[[str], None]) -> None:
    """Row 45. What was committed stays: the vote says so."""

    def body(db: str) -> None:
        insert("x")(db)
        commit(db)
        insert("after")(db)

    end = engine.run(body)
    assert "STAYS in the database" in end.words
    assert end.prepared is None and engine.prepared() == []
    assert "x" in engine.values() and "after" not in engine.values()


def test_a_rollback_of_its_own(engine: PostgreSQLEngine) -> None:
    def body(db: str) -> None:
        insert("x")(db)
        connections[db].connection.rollback()
        insert("after")(db)

    nothing_left(engine, engine.run(body))


def test_closing_the_connection(engine: PostgreSQLEngine) -> None:
    def body(db: str) -> None:
        insert("x")(db)
        connections[db].close()

    end = engine.run(body)
    assert "closed its database connection" in end.words
    nothing_left(engine, end)


def test_an_atomic_left_open(engine: PostgreSQLEngine) -> None:
    def body(db: str) -> None:
        insert("x")(db)
        transaction.atomic(using=db).__enter__()
        insert("y")(db)

    end = engine.run(body)
    assert "left an atomic() block open" in end.words
    nothing_left(engine, end)


def test_marked_for_rollback(engine: PostgreSQLEngine) -> None:
    def body(db: str) -> None:
        insert("x")(db)
        transaction.set_rollback(True, using=db)

    end = engine.run(body)
    assert "not undone by a savepoint" in end.words
    nothing_left(engine, end)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("CREATE TEMPORARY TABLE t (a int)", "temporary"),
        ("LISTEN somebody", "LISTEN"),
        ("NOTIFY somebody", "NOTIFY"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "WITH HOLD"),
        ("SELECT pg_advisory_lock(1); SELECT pg_advisory_xact_lock(1)", "same object"),
    ],
)
def test_what_cannot_be_prepared(engine: PostgreSQLEngine, sql: str, words: str) -> None:
    """The vote has the server's words."""

    def body(db: str) -> None:
        insert("x")(db)
        do(db, sql)

    end = engine.run(body)
    assert end.prepared is Prepared.REFUSED
    assert words in end.words
    nothing_left(engine, end)


def test_deferred_constraints_fire_at_prepare(engine: PostgreSQLEngine) -> None:
    engine.query("CREATE TABLE part (thing int REFERENCES thing DEFERRABLE INITIALLY DEFERRED)")
    end = engine.run(lambda db: do(db, "INSERT INTO part VALUES (99)"))
    assert end.prepared is Prepared.REFUSED and "part_thing_fkey" in end.words
    nothing_left(engine, end)


@pytest.mark.parametrize(
    "leaves",
    ["SET work_mem = '123MB'", "SELECT pg_advisory_lock(7)", "SELECT set_config('work_mem', '123MB', false)"],
)
def test_what_is_left_in_a_session_does_not_reach_the_next_body(engine: PostgreSQLEngine, leaves: str) -> None:
    def body(db: str) -> int:
        insert("x")(db)
        do(db, leaves)
        return int(do(db, "SELECT pg_backend_pid()")[0][0])

    first = engine.run(body)
    assert first.prepared is Prepared.DONE
    second = engine.run(lambda db: do(db, "SELECT pg_backend_pid(), current_setting('work_mem')")[0])
    assert second.value[0] != first.value and second.value[1] != "123MB"
    wait_until(lambda: engine.query("SELECT count(*) FROM pg_locks WHERE objid = 7") == [(0,)], 5, what="the lock")


def test_a_thread_of_its_own_is_not_caught(engine: PostgreSQLEngine) -> None:
    """Its slots are empty, so it gets a connection outside of the branch. Documented; held here lest it surprise."""

    def body(db: str) -> None:
        insert("inside")(db)

        def elsewhere() -> None:
            insert("outside")(db)
            connections[db].close()

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    end = engine.run(body)
    assert end.prepared is Prepared.DONE
    assert engine.values() == ["outside"]


# --- locks and slots ----------------------------------------------------------------------------------------------


def test_a_lock_timeout_names_the_sibling_and_the_rule(engine: PostgreSQLEngine) -> None:
    """Row 44. Two tasks of one batch on one row: no deadlock detector sees that the first waits for the second."""
    first = engine.run(insert("x", 1), branch=3)
    end = engine.run(insert("y", 1), branch=4, lock_timeout=0.6)
    assert "lock timeout" in end.words
    assert "held by task 3 of the same batch" in end.words
    assert "must not touch the same rows" in end.words
    engine.resource.finish(first.gid, Decision.COMMIT, first.proof)
    assert engine.values() == ["x"]


def test_a_lock_timeout_names_another_session(engine: PostgreSQLEngine) -> None:
    with engine.server.connect(engine.database) as stranger, stranger.transaction():
        stranger.execute("SET LOCAL application_name = 'the stranger'")
        stranger.execute("LOCK TABLE thing")
        end = engine.run(insert("y"), lock_timeout=0.6)
        assert f"held by the database session {stranger.info.backend_pid} (the stranger)" in end.words


def test_a_swallowed_lock_timeout_names_the_holder_too(engine: PostgreSQLEngine) -> None:
    engine.run(insert("x", 1), branch=3)
    end = engine.run(lambda db: swallow(db, "INSERT INTO thing (id) VALUES (1)"), branch=4, lock_timeout=0.6)
    assert "swallowed" in end.words and "held by task 3" in end.words


def test_no_slots_left(engine: PostgreSQLEngine) -> None:
    """Row 34. 53200, with the server's hint."""
    engine.server.restart(max_prepared_transactions=2)
    try:
        ends = [engine.run(insert(f"{n}"), branch=n) for n in (1, 2, 3)]
        assert [end.prepared for end in ends] == [Prepared.DONE, Prepared.DONE, Prepared.REFUSED]
        assert "maximum number of prepared transactions" in ends[2].words
        assert "max_prepared_transactions" in ends[2].words
    finally:
        engine.server.restart(max_prepared_transactions=2500)


def test_a_server_that_does_not_prepare(engine: PostgreSQLEngine) -> None:
    engine.server.restart(max_prepared_transactions=0)
    try:
        end = engine.run(insert("x"))
        assert end.prepared is Prepared.REFUSED and "max_prepared_transactions" in end.words
    finally:
        engine.server.restart(max_prepared_transactions=2500)
