"""What the protocol asks of a database (``coordination/resources/base.py``): how prepared work ends, and its proof."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import connections

from coordination.protocol.attempt import Fate, Prepared
from coordination.protocol.states import Decision, Kind, Outcome
from coordination.resources import postgresql
from coordination.resources.base import Resource, ResourceError
from tests.contract.cutting import CuttingProxy
from tests.contract.engines import ALIAS, Ending, PostgreSQLEngine, insert
from tests.services import wait_until


@pytest.fixture
def other(engine: PostgreSQLEngine) -> Resource:
    """The same database, as another process sees it."""
    return engine.make(ALIAS)


def insert_x(engine: PostgreSQLEngine, branch: int = 1) -> Ending:
    end = engine.run(insert("x"), branch=branch)
    assert end.prepared is Prepared.DONE
    return end


# --- finishing --------------------------------------------------------------------------------------------------


def test_what_it_promises(engine: PostgreSQLEngine) -> None:
    assert (engine.resource.alias, engine.resource.kind) == (ALIAS, Kind.TWO_PHASE)


def test_commit_by_another_process(engine: PostgreSQLEngine, other: Resource) -> None:
    """Invisible until then; finishing again is harmless and knows what it was."""
    end = insert_x(engine)
    assert engine.values() == []
    assert other.finish(end.gid, Decision.COMMIT, end.proof).outcome is Outcome.COMMITTED
    assert engine.values() == ["x"]
    assert engine.resource.finish(end.gid, Decision.COMMIT, end.proof).outcome is Outcome.COMMITTED


def test_rollback_by_another_process(engine: PostgreSQLEngine, other: Resource) -> None:
    end = insert_x(engine)
    assert other.finish(end.gid, Decision.ROLLBACK, end.proof).outcome is Outcome.ROLLED_BACK
    assert engine.values() == [] and engine.prepared() == []
    assert engine.resource.finish(end.gid, Decision.ROLLBACK, end.proof).outcome is Outcome.ROLLED_BACK


@pytest.mark.parametrize("ordered", list(Decision))
@pytest.mark.parametrize(("by_hand", "outcome"), [("COMMIT", Outcome.COMMITTED), ("ROLLBACK", Outcome.ROLLED_BACK)])
def test_finished_by_hand(engine: PostgreSQLEngine, ordered: Decision, by_hand: str, outcome: Outcome) -> None:
    """The truth is reported, whatever was ordered."""
    end = insert_x(engine)
    engine.query(f"{by_hand} PREPARED '{end.gid}'")
    finished = engine.resource.finish(end.gid, ordered, end.proof)
    assert finished.outcome is outcome
    assert "by its transaction id" in finished.how


@pytest.mark.parametrize(
    "proof", [None, "", "nonsense", "5@another-cluster", "99999999999@{cluster}", "99999999999999999999999@{cluster}"]
)
def test_absent_without_proof_is_unknown(engine: PostgreSQLEngine, proof: str | None) -> None:
    """Row 35. Never read as either outcome; least of all by the transaction ids of another server."""
    cluster = engine.query("SELECT system_identifier FROM pg_control_system()")[0][0]
    said = proof.format(cluster=cluster) if proof else proof
    for ordered in Decision:
        assert engine.resource.finish(engine.gid(), ordered, said).outcome is Outcome.UNKNOWN


def test_another_database_is_unknown(engine: PostgreSQLEngine) -> None:
    """A gid can be finished in its own database only, and this says so instead of guessing."""
    gid = engine.gid()
    with engine.server.connect("postgres") as stranger:
        stranger.execute("BEGIN; CREATE TABLE elsewhere (); ")
        stranger.execute(f"PREPARE TRANSACTION '{gid}'")
    try:
        assert engine.resource.recover() == []
        finished = engine.resource.finish(gid, Decision.COMMIT, None)
        assert finished.outcome is Outcome.UNKNOWN and "another database" in finished.how
    finally:
        engine.server.query("postgres", f"ROLLBACK PREPARED '{gid}'")


def test_busy_is_tried_again(engine: PostgreSQLEngine, other: Resource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 35. Another session is at it (55000): wait for it, and say what it did; if it takes too long, that."""
    end = insert_x(engine)
    with commits_unanswered(engine) as let_go, ThreadPoolExecutor(2) as together:
        first = together.submit(engine.resource.finish, end.gid, Decision.COMMIT, end.proof)
        try:
            at_it = f"{UNANSWERED} AND query LIKE 'COMMIT PREPARED%'"
            wait_until(lambda: engine.query(at_it), 10, what="a session that is at it")
            began = time.monotonic()
            finished = other.finish(end.gid, Decision.COMMIT, end.proof)
            assert finished.outcome is Outcome.UNKNOWN and "busy" in finished.how
            assert time.monotonic() - began >= 0.4
            monkeypatch.setattr(postgresql, "BUSY_PAUSES", (0.1,) * 200)
            second = together.submit(other.finish, end.gid, Decision.COMMIT, end.proof)
        finally:
            let_go()
        assert [each.result().outcome for each in (first, second)] == [Outcome.COMMITTED] * 2
    assert engine.values() == ["x"]


UNANSWERED = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@contextlib.contextmanager
def commits_unanswered(engine: PostgreSQLEngine) -> Iterator[Callable[[], None]]:
    """The server has each commit wait for a standby that there is not, and hold what it commits; until told."""

    def standby(change: str) -> None:
        engine.server.query("postgres", f"ALTER SYSTEM {change}")
        engine.server.query("postgres", "SELECT pg_reload_conf()")

    over = threading.Event()

    def commit() -> None:
        with engine.server.connect(engine.database) as session:
            while not over.is_set():
                session.execute("SELECT pg_logical_emit_message(true, 'a test', '')")

    with ThreadPoolExecutor(1) as beside:
        try:
            standby("SET synchronous_standby_names = 'nobody'")
            beside.submit(commit)
            # The server comes to know of it in its own time.
            wait_until(lambda: engine.query(f"{UNANSWERED} AND query LIKE '%a test%'"), 10, what="a commit that waits")
            yield partial(standby, "RESET synchronous_standby_names")
        finally:
            over.set()
            standby("RESET synchronous_standby_names")


def test_a_server_that_is_down_is_unknown(engine: PostgreSQLEngine) -> None:
    """Row 32. And what was prepared survives it."""
    end = insert_x(engine)
    engine.server.stop("immediate")
    try:
        finished = engine.resource.finish(end.gid, Decision.COMMIT, end.proof)
        assert finished.outcome is Outcome.UNKNOWN and "cannot be reached" in finished.how
        with pytest.raises(ResourceError):
            engine.resource.recover()
        with pytest.raises(ResourceError):
            engine.resource.prepared_of(engine.batch, 1)
    finally:
        engine.server.start()
    assert engine.resource.finish(end.gid, Decision.COMMIT, end.proof).outcome is Outcome.COMMITTED


def test_the_answer_to_commit_is_lost(engine: PostgreSQLEngine, cut: Callable[[bytes], CuttingProxy]) -> None:
    """Row 33. Asked once more on a new connection, then proved."""
    end = insert_x(engine)
    proxy = cut(b"COMMIT PREPARED")
    finished = engine.make(ALIAS).finish(end.gid, Decision.COMMIT, end.proof)
    assert proxy.cuts == 2 or finished.outcome is Outcome.COMMITTED
    assert engine.values() == ["x"]
    assert engine.resource.finish(end.gid, Decision.COMMIT, end.proof).outcome is Outcome.COMMITTED


# --- the fate of a PREPARE ---------------------------------------------------------------------------------------


@pytest.fixture
def cut(engine: PostgreSQLEngine, request: pytest.FixtureRequest) -> Callable[[bytes], CuttingProxy]:
    """Puts a proxy before the server that cuts connections after a request."""

    def start(after: bytes) -> CuttingProxy:
        proxy = CuttingProxy(engine.server.port, after)
        before = connections.settings[ALIAS]["PORT"]
        connections.settings[ALIAS]["PORT"] = proxy.port

        def restore() -> None:
            connections.settings[ALIAS]["PORT"] = before
            proxy.close()

        request.addfinalizer(restore)
        return proxy

    return start


def test_the_answer_to_prepare_is_lost(engine: PostgreSQLEngine, cut: Callable[[bytes], CuttingProxy]) -> None:
    """Row 33. The server has prepared, the session is gone: found by the gid."""
    cut(b"PREPARE TRANSACTION")
    end = engine.run(insert("x"), resource=engine.make(ALIAS))
    assert end.prepared is Prepared.UNKNOWN and end.failure is not None
    assert engine.prepared() == [end.gid]
    assert engine.resource.look_up(end.gid, end.proof) is Fate.PREPARED


def test_the_session_died_before_prepare(engine: PostgreSQLEngine) -> None:
    """Row 33. The server did not prepare, and never will: proved by the transaction id."""
    work = engine.resource.begin(gid=engine.gid(), batch=engine.batch, branch=1, ask=False, lock_timeout=5)
    insert("x")(ALIAS)
    assert work.problem() is None
    pid = connections[ALIAS].connection.info.backend_pid
    engine.query("SELECT pg_terminate_backend(%s, 5000)", [pid])
    result, failure = work.prepare()
    work.release()
    assert result is Prepared.UNKNOWN and failure is not None and "lost" in failure.message
    assert engine.resource.look_up(engine.gid(), work.proof) is Fate.UNDONE


def test_the_session_is_still_at_work(engine: PostgreSQLEngine) -> None:
    """Neither prepared nor aborted: not for a look-up to say."""
    with engine.server.connect(engine.database) as session, session.transaction():
        xid = session.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert xid is not None
        cluster = engine.query("SELECT system_identifier FROM pg_control_system()")[0][0]
        began = time.monotonic()
        assert engine.resource.look_up(engine.gid(), f"{xid[0]}@{cluster}") is Fate.UNKNOWN
        assert 2 < time.monotonic() - began < 6


def test_prepared_and_finished_before_the_look_up(engine: PostgreSQLEngine) -> None:
    end = insert_x(engine)
    engine.query(f"COMMIT PREPARED '{end.gid}'")
    assert engine.resource.look_up(end.gid, end.proof) is Fate.PREPARED
    assert engine.resource.look_up(end.gid, None) is Fate.UNKNOWN


# --- lists --------------------------------------------------------------------------------------------------------


def test_an_earlier_execution_is_found(engine: PostgreSQLEngine, other: Resource) -> None:
    """Rows 14, 36. Asked with the first statement; with its proof. Other branches and installations are not ours."""
    ends = [insert_x(engine, branch) for branch in (1, 11, 12)]
    stranger = engine.gid(installation="deadbeef")
    engine.run(insert("y"), gid=stranger)
    with engine.server.connect(engine.database) as foreign:
        foreign.execute("BEGIN; INSERT INTO thing (value) VALUES ('z')")
        foreign.execute("PREPARE TRANSACTION 'somebody''s'")
    again = engine.run(lambda db: None, ask=True, resource=other)
    assert again.found == [ends[0].gid]
    assert engine.run(lambda db: None).found == []  # Not asked.
    assert [(f.gid, f.proof) for f in other.prepared_of(engine.batch, 11)] == [(ends[1].gid, ends[1].proof)]
    assert {(f.gid, f.proof) for f in other.recover()} == {(end.gid, end.proof) for end in ends}
    engine.query("ROLLBACK PREPARED 'somebody''s'")


def test_ages(engine: PostgreSQLEngine) -> None:
    insert_x(engine)
    time.sleep(1.1)
    assert 1.1 <= engine.resource.recover()[0].age < 10


def test_one_sweeps_at_a_time(engine: PostgreSQLEngine, other: Resource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another takes over when the session of the one is gone, however it went."""
    monkeypatch.setattr(postgresql, "TRY_SWEEP_SECONDS", 0)
    end = insert_x(engine)
    assert [f.gid for f in other.sweep()] == [end.gid]
    assert engine.resource.sweep() == ()
    assert [f.gid for f in other.sweep()] == [end.gid]
    locks = "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database()"
    ((pid,),) = engine.query(f"{locks} WHERE locktype = 'advisory'")
    engine.query("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert [f.gid for f in engine.resource.sweep()] == [end.gid]
    with pytest.raises(ResourceError):
        other.sweep()
    assert other.sweep() == ()
    engine.resource.close()
    wait_until(lambda: other.sweep(), 5, what="the other's turn")


@pytest.mark.parametrize(
    ("xid", "near", "wide"),
    [
        (5, 7, 5), (7, 5, 7), (2**32 - 1, 2**32 + 3, 2**32 - 1), (3, 2**32 - 2, 2**32 + 3),
        (700, 5 * 2**32 + 800, 5 * 2**32 + 700), (900, 5 * 2**32 + 800, 5 * 2**32 + 900),
        (2**31 + 900, 2**32 + 800, 2**31 + 900),
    ],
)  # fmt: skip
def test_widened_ids(xid: int, near: int, wide: int) -> None:
    assert postgresql.widened(xid, near=near) == wide
