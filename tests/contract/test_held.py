"""Transactions that are held open until the decision: who ends them, and what others find out of them."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import DatabaseError, connections

from coordination.protocol.attempt import Fate, Prepared
from coordination.protocol.states import Decision, Guarantee, Kind, Outcome
from coordination.resources import held
from coordination.resources.base import CannotBegin, Resource, ResourceError
from coordination.resources.held import HeldResource
from coordination.resources.marker import TABLE
from tests.contract.cutting import CuttingProxy
from tests.contract.engines import ALIAS, Ending, HeldEngine, HeldPostgreSQLEngine, SQLiteEngine, insert
from tests.contract.test_bodies import do


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for the fate of what is open does not wait long."""
    monkeypatch.setattr(held, "PROOF_SECONDS", 0.1)


@pytest.fixture
def other(held_engine: HeldEngine) -> Resource:
    """The same database, as another process sees it."""
    return held_engine.make(ALIAS)


only_sqlite = pytest.mark.parametrize("held_engine", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("held_engine", ["postgresql"], indirect=True)


def insert_x(engine: HeldEngine, branch: int = 1, **options: Any) -> Ending:
    end = engine.run(insert("x"), branch=branch, **options)
    assert (end.words, end.prepared) == ("", Prepared.DONE)
    assert end.proof
    return end


def told(resource: Resource, end: Ending, outcome: Decision = Decision.COMMIT) -> tuple[Outcome, str]:
    finished = resource.finish(end.gid, outcome, end.proof)
    return finished.outcome, finished.how


# --- by its holder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decision", list(Decision))
def test_ended_by_its_holder(held_engine: HeldEngine, decision: Decision) -> None:
    """In another thread than the task's; nothing to be seen before. Ordered again, it is known what it was."""
    assert (held_engine.resource.kind, held_engine.resource.guarantee) == (Kind.HELD, Guarantee.PROCESS_BOUND)
    outcome = Outcome.COMMITTED if decision is Decision.COMMIT else Outcome.ROLLED_BACK
    end = insert_x(held_engine)
    assert held_engine.values() == [] and held_engine.resource.look(end.gid) == ""
    with ThreadPoolExecutor(1) as another:
        said = another.submit(told, held_engine.resource, end, decision).result()
    assert said == (outcome, f"{decision} by the process that held it")
    assert held_engine.values() == (["x"] if decision is Decision.COMMIT else [])
    assert held_engine.prepared() == [] and held_engine.resource.look(end.gid) != ""
    for ordered in Decision:
        assert told(held_engine.resource, end, ordered)[0] is outcome
    # The connection is good for the next.
    assert told(held_engine.resource, insert_x(held_engine, 2))[0] is Outcome.COMMITTED


def test_its_process_finds_it(held_engine: HeldEngine, other: Resource) -> None:
    """Delivered again to its process, a task votes for what is held, and does not wait for it. Others see nothing."""
    end = insert_x(held_engine)
    again = held_engine.resource.begin(
        gid=held_engine.gid(), batch=held_engine.batch, branch=1, ask=True, lock_timeout=5
    )
    assert [found.gid for found in again.found] == [end.gid]
    again.undo()
    again.release()
    (found,) = held_engine.resource.prepared_of(held_engine.batch, 1)
    assert (found.gid, found.kind, found.proof) == (end.gid, Kind.HELD, end.proof)
    assert held_engine.resource.look_up(end.gid, end.proof) is Fate.PREPARED
    assert list(other.prepared_of(held_engine.batch, 1)) == list(other.recover()) == list(other.sweep()) == []
    assert told(held_engine.resource, end)[0] is Outcome.COMMITTED


# --- by others ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", list(Decision))
def test_nobody_else_ends_it(held_engine: HeldEngine, other: Resource, ordered: Decision) -> None:
    """Row 35. While it is open, others say that they do not know, and it is not disturbed."""
    end = insert_x(held_engine)
    outcome, how = told(other, end, ordered)
    assert outcome is Outcome.UNKNOWN and "may still be open" in how
    assert held_engine.resource.look(end.gid) == ""
    assert told(held_engine.resource, end)[0] is Outcome.COMMITTED
    assert told(other, end, ordered)[0] is Outcome.COMMITTED


def test_its_holder_is_gone(held_engine: HeldEngine, other: Resource) -> None:
    """Row 20. Rolled back, as anybody finds out, and whoever asks after that."""
    end = insert_x(held_engine)
    held_engine.resource.close()
    for resource in (other, other, held_engine.make(ALIAS)):
        outcome, how = told(resource, end)
        assert outcome is Outcome.ROLLED_BACK and "nobody can commit it any more" in how
    assert held_engine.values() == []


def test_a_transaction_that_was_given_up_for_lost_cannot_be_committed(held_engine: HeldEngine) -> None:
    """Somebody was told that it is gone: an execution under the same gid is refused from then on."""
    gid = held_engine.gid()
    end = Ending(gid, proof=insert_x(held_engine).proof)
    held_engine.resource.close()
    assert told(held_engine.make(ALIAS), end)[0] is Outcome.ROLLED_BACK
    with pytest.raises(ResourceError):
        held_engine.run(insert("x"), gid=gid)
    assert held_engine.values() == []


@pytest.mark.parametrize("proof", [None, "", "the name of another database"])
def test_in_another_database_nothing_is_known(held_engine: HeldEngine, proof: str | None) -> None:
    """A file of the same path on another machine is another database: that it has no such mark means nothing."""
    for ordered in Decision:
        finished = held_engine.resource.finish(held_engine.gid(), ordered, proof)
        assert finished.outcome is Outcome.UNKNOWN and "not the one" in finished.how


# --- lost ---------------------------------------------------------------------------------------------------------


def test_a_lost_connection_is_seen(held_engine: HeldEngine) -> None:
    """And never committed: not even if the file is back in its place."""
    end = insert_x(held_engine)
    held_engine.lose(end.gid)
    assert "was lost" in (why := held_engine.resource.look(end.gid)) or "removed or replaced" in why
    assert told(held_engine.resource, end)[0] is not Outcome.COMMITTED
    if isinstance(held_engine, SQLiteEngine):
        held_engine.file.with_suffix(".away").rename(held_engine.file)
    assert told(held_engine.resource, end)[0] is Outcome.ROLLED_BACK
    assert held_engine.values() == []


def test_given_up(held_engine: HeldEngine) -> None:
    """From the moment on that it is taken, no order finds it."""
    end = insert_x(held_engine)
    close = held_engine.resource.take(end.gid)
    assert close is not None and held_engine.resource.take(end.gid) is None
    assert told(held_engine.resource, end)[0] is Outcome.UNKNOWN
    close()
    assert told(held_engine.resource, end)[0] is Outcome.ROLLED_BACK
    assert held_engine.values() == []


@only_postgresql
def test_the_answer_to_commit_is_lost(held_engine: HeldPostgreSQLEngine, request: pytest.FixtureRequest) -> None:
    """Row 33. The server has committed, the connection is gone: found by its mark."""
    proxy = CuttingProxy(held_engine.server.port, b"COMMIT")
    request.addfinalizer(proxy.close)
    settings = connections.settings[ALIAS]
    before, settings["PORT"] = settings["PORT"], proxy.port
    resource = held_engine.make(ALIAS)
    end = insert_x(held_engine, resource=resource)
    settings["PORT"] = before
    outcome, how = told(resource, end)
    assert proxy.cuts == 1
    assert (outcome, held_engine.values()) == (Outcome.COMMITTED, ["x"])
    assert "Found committed" in how


@only_postgresql
def test_the_server_restarts(held_engine: HeldPostgreSQLEngine) -> None:
    """Row 32. What is held does not survive its server; that is seen, and proved when it is back."""
    end = insert_x(held_engine)
    held_engine.server.stop("immediate")
    try:
        assert "was lost" in held_engine.resource.look(end.gid)
        assert told(held_engine.resource, end)[0] is Outcome.UNKNOWN
    finally:
        held_engine.server.start()
    assert told(held_engine.resource, end)[0] is Outcome.ROLLED_BACK


# --- what COMMIT would refuse is refused before the vote ------------------------------------------------------------


CHILD = "CREATE TABLE child (id integer PRIMARY KEY, of integer REFERENCES thing (id) DEFERRABLE INITIALLY DEFERRED)"


@pytest.mark.parametrize(
    "sql", ["INSERT INTO child (id, of) VALUES (2, 77)", "DELETE FROM thing", "UPDATE thing SET id = 5"]
)
def test_deferred_constraints(held_engine: HeldEngine, sql: str) -> None:
    """They are checked when it votes, not when it is committed: by then it is too late to say no."""
    held_engine.query(CHILD)
    held_engine.query("INSERT INTO thing (id, value) VALUES (1, 'there')")
    held_engine.query("INSERT INTO child (id, of) VALUES (1, 1)")
    end = held_engine.run(lambda db: do(db, sql))
    assert end.prepared is Prepared.REFUSED
    assert "foreign key" in end.words and held_engine.prepared() == []
    healthy = held_engine.run(lambda db: (do(db, sql), do(db, "DELETE FROM child")), branch=2)
    assert (healthy.words, healthy.prepared) == ("", Prepared.DONE)
    assert told(held_engine.resource, healthy)[0] is Outcome.COMMITTED


def test_a_commit_of_the_drivers(held_engine: HeldEngine) -> None:
    """Row 45. SQLite refuses it; elsewhere it is found out, and the vote says what stays."""

    def body(db: str) -> None:
        insert("x")(db)
        with contextlib.suppress(sqlite3.DatabaseError):
            connections[db].connection.commit()
        insert("after")(db)

    end = held_engine.run(body)
    if isinstance(held_engine, SQLiteEngine):
        assert (end.words, end.prepared, held_engine.values()) == ("", Prepared.DONE, [])
    else:
        assert "STAYS in the database" in end.words
        assert (end.prepared, held_engine.values()) == (None, ["x"])


def test_a_rollback_of_the_drivers(held_engine: HeldEngine) -> None:
    """Row 45. What it undid cannot be committed, so it is not voted for."""

    def body(db: str) -> None:
        insert("x")(db)
        connections[db].connection.rollback()

    end = held_engine.run(body)
    assert end.prepared is None and held_engine.prepared() == []
    assert told(held_engine.resource, insert_x(held_engine, 2))[0] is Outcome.COMMITTED


@only_sqlite
def test_a_script_commits_first(held_engine: SQLiteEngine) -> None:
    """Row 45. Python's executescript sends a COMMIT before anything else."""

    def body(db: str) -> None:
        insert("x")(db)
        connections[db].connection.executescript("INSERT INTO thing (value) VALUES ('y')")

    end = held_engine.run(body)
    assert isinstance(end.error, sqlite3.DatabaseError) and held_engine.values() == []


def test_a_swallowed_error(held_engine: HeldEngine) -> None:
    """Row 18. SQLite would commit the rest."""

    def body(db: str) -> None:
        insert("x", 1)(db)
        with contextlib.suppress(DatabaseError):
            insert("x", 1)(db)

    end = held_engine.run(body)
    assert "swallowed a database error" in end.words and end.prepared is None
    assert held_engine.values() == []


# --- locks, and what there is room for ------------------------------------------------------------------------------


@only_postgresql
def test_there_is_room_for_so_many(held_engine: HeldPostgreSQLEngine, settings: Any) -> None:
    """Row 22. One more votes to roll back, and says which number to raise."""
    settings.COORDINATION_MAX_HELD = 2
    ends = [insert_x(held_engine, branch) for branch in (1, 2)]
    third = held_engine.run(insert("z"), branch=3)
    assert third.prepared is Prepared.REFUSED
    assert "already holds 2 connections" in third.words and "COORDINATION_MAX_HELD" in third.words
    assert [told(held_engine.resource, end)[0] for end in ends] == [Outcome.COMMITTED] * 2
    insert_x(held_engine, 3)


@only_postgresql
def test_a_row_that_another_task_holds(held_engine: HeldPostgreSQLEngine) -> None:
    """Row 44. No deadlock detector sees it: a lock timeout, with the likely cause."""
    insert_x(held_engine)
    first = held_engine.run(insert("y", 7), branch=2)
    end = held_engine.run(insert("z", 7), branch=3, lock_timeout=0.4)
    assert first.prepared is Prepared.DONE
    assert "lock timeout" in end.words and "another task that waits for its decision" in end.words


@only_sqlite
def test_one_writer(held_engine: SQLiteEngine, other: Resource) -> None:
    """The second waits for the lock at BEGIN, and its words say for what."""
    insert_x(held_engine)
    with pytest.raises(CannotBegin, match="takes one writer at a time"):
        held_engine.run(insert("y"), branch=2, lock_timeout=0.3, resource=other)
    assert connections[ALIAS].connection is None


@only_sqlite
def test_a_reader_in_the_way_of_commit(held_engine: SQLiteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not committed and not lost: COMMIT is tried again, and nobody else takes it for gone meanwhile."""
    monkeypatch.setattr(held, "COMMIT_SECONDS", 0.2)
    held_engine.query("INSERT INTO thing (value) VALUES ('before')")
    end = insert_x(held_engine)
    reader = sqlite3.connect(held_engine.file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM thing").fetchall()
    outcome, how = told(held_engine.resource, end)
    assert outcome is Outcome.UNKNOWN and "will be tried again" in how
    assert held_engine.resource.look(end.gid) == ""
    reader.close()
    assert told(held_engine.resource, end)[0] is Outcome.COMMITTED
    assert held_engine.values() == ["before", "x"]


@only_sqlite
def test_a_file_that_is_not_there_is_not_made(held_engine: SQLiteEngine) -> None:
    """A task in it says so at once; of one that was there, nothing is known."""
    end = insert_x(held_engine)
    held_engine.lose(end.gid)
    with pytest.raises(CannotBegin, match="there is no file"):
        held_engine.run(insert("x"))
    assert told(held_engine.make(ALIAS), end)[0] is Outcome.UNKNOWN
    assert not held_engine.file.exists()


@only_postgresql
def test_a_role_that_may_not_make_the_table(held_engine: HeldPostgreSQLEngine) -> None:
    """It is told what is to be run by somebody who may."""
    held_engine.query("DROP ROLE IF EXISTS poor")
    held_engine.query("CREATE ROLE poor LOGIN")
    held_engine.query("GRANT ALL ON thing, thing_id_seq TO poor")
    connections.settings[ALIAS]["USER"] = "poor"
    resource = held_engine.make(ALIAS)
    try:
        with pytest.raises(ResourceError, match=f"CREATE TABLE {TABLE}") as said:
            held_engine.run(insert("x"), resource=resource)
        held_engine.query(str(said.value).partition("run there: ")[2].partition(";")[0])
        held_engine.query(f"GRANT SELECT, INSERT ON {TABLE} TO poor")
        end = insert_x(held_engine, resource=resource)
        assert told(resource, end)[0] is Outcome.COMMITTED
    finally:
        resource.close()
        held_engine.query("DROP OWNED BY poor")
        held_engine.query("DROP ROLE poor")


# --- ended from outside ---------------------------------------------------------------------------------------------


LONG = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i < 0",
    "postgresql": "SELECT pg_sleep(60)",
}


def test_a_body_whose_batch_is_over_is_interrupted(held_engine: HeldEngine, run_in_work: Callable[..., None]) -> None:
    began = time.monotonic()
    run_in_work(lambda db: do(db, LONG[connections[db].vendor]))
    assert time.monotonic() - began < 20
    assert held_engine.values() == [] and held_engine.prepared() == []
    insert_x(held_engine, 2)


@pytest.fixture
def run_in_work(held_engine: HeldEngine) -> Callable[..., None]:
    """Runs a body that is interrupted, and holds that it was and that a later interruption hits nothing."""

    def run(body: Callable[[str], Any]) -> None:
        gid = held_engine.gid()
        work = held_engine.resource.begin(gid=gid, batch=held_engine.batch, branch=1, ask=False, lock_timeout=5)
        insert("x")(ALIAS)
        interrupting = threading.Timer(0.3, work.interrupt)
        interrupting.start()
        with pytest.raises(DatabaseError):
            body(ALIAS)
        interrupting.join()
        work.undo()
        assert work.interrupt() is False
        work.release()

    return run


def test_resources_are_what_the_registry_makes(settings: Any, held_engine: HeldEngine) -> None:
    from coordination.resources import registry

    settings.COORDINATION_DATABASES = {ALIAS: {"two_phase": "hold"}}
    registry.close_all()
    try:
        assert isinstance(registry.resource_of(ALIAS), HeldResource)
        assert registry.guarantee_of(ALIAS) is Guarantee.PROCESS_BOUND
        assert bool(registry.sole_writer(ALIAS)) is isinstance(held_engine, SQLiteEngine)
    finally:
        registry.close_all()
