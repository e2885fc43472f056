"""The connection behind the alias is our own, and kept: one backend over all bodies, and none in Django's slots."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import close_old_connections, connections

from coordination.protocol.attempt import Prepared
from coordination.protocol.states import Decision
from coordination.resources.base import ResourceError
from tests.contract.engines import ALIAS, PostgreSQLEngine, insert
from tests.contract.test_bodies import do


def backend(db: str) -> int:
    return int(do(db, "SELECT pg_backend_pid()")[0][0])


def test_one_backend_over_all_bodies(engine: PostgreSQLEngine) -> None:
    """And Django's own connection of the thread is back in its slot in between, as it was."""
    before = connections[ALIAS]
    pids = set()
    for number in range(3):
        before.ensure_connection()
        end = engine.run(lambda db: (insert("x")(db), backend(db))[1], branch=number)
        assert end.prepared is Prepared.DONE
        engine.resource.finish(end.gid, Decision.COMMIT, end.proof)
        pids.add(end.value)
        assert connections[ALIAS] is before and before.connection is not None
        close_old_connections()
    assert len(pids) == 1


def test_an_empty_slot_is_empty_again(engine: PostgreSQLEngine) -> None:
    connections[ALIAS].close()  # Looked at, it is there; a process that has just begun has none.
    del connections[ALIAS]
    engine.run(insert("x"))
    assert not hasattr(connections._connections, ALIAS)
    assert set(vars(connections[ALIAS])) >= {"atomic_blocks", "savepoint_ids", "closed_in_transaction", "run_on_commit"}


def test_a_restart_of_the_server_is_not_noticed(engine: PostgreSQLEngine) -> None:
    """A connection that died while idle costs a new one, not a vote."""
    engine.run(insert("x"))
    engine.server.restart("immediate")
    assert engine.run(insert("y"), branch=2).prepared is Prepared.DONE


def test_a_server_that_is_down(engine: PostgreSQLEngine) -> None:
    """Says so, and leaves the slot as it was."""
    engine.run(insert("x"))
    before = connections[ALIAS]
    engine.server.stop()
    try:
        with pytest.raises(ResourceError, match="cannot be reached"):
            engine.run(insert("y"), branch=2)
    finally:
        engine.server.start()
    assert connections[ALIAS] is before
    assert engine.run(insert("z"), branch=2).prepared is Prepared.DONE


def test_idle_connections_are_closed(engine: PostgreSQLEngine) -> None:
    end = engine.run(backend)
    engine.resource.close_idle(60)
    assert engine.query("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [end.value]) == [(1,)]
    engine.resource.close_idle(0)
    assert engine.run(backend).value != end.value


@pytest.fixture
def options(engine: PostgreSQLEngine) -> Iterator[dict[str, Any]]:
    """The alias's settings, to be changed."""
    settings = connections.settings[ALIAS]
    before = {**settings, "OPTIONS": {**settings["OPTIONS"]}}
    yield settings
    settings.clear()
    settings.update(before)


def test_an_isolation_level_is_kept(engine: PostgreSQLEngine, options: dict[str, Any]) -> None:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    options["OPTIONS"]["isolation_level"] = IsolationLevel.SERIALIZABLE

    def body(db: str) -> str:
        insert("x")(db)
        return str(do(db, "SHOW transaction_isolation")[0][0])

    end = engine.run(body, resource=engine.make(ALIAS))
    assert (end.value, end.prepared) == ("serializable", Prepared.DONE)


def test_persistent_and_pooled_settings_make_no_difference(engine: PostgreSQLEngine, options: dict[str, Any]) -> None:
    options.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True, ATOMIC_REQUESTS=True)
    options["OPTIONS"]["pool"] = True
    assert engine.run(insert("x"), resource=engine.make(ALIAS)).prepared is Prepared.DONE


def test_a_role_without_privileges_will_do(engine: PostgreSQLEngine, options: dict[str, Any]) -> None:
    """Whoever may write may also prepare, finish, list and prove."""
    engine.query("DROP ROLE IF EXISTS plain")
    engine.query("CREATE ROLE plain LOGIN")
    engine.query("GRANT ALL ON thing, thing_id_seq TO plain")
    options["USER"] = "plain"
    resource = engine.make(ALIAS)
    end = engine.run(insert("x"), resource=resource)
    assert end.prepared is Prepared.DONE
    assert [(f.gid, f.proof) for f in resource.recover()] == [(end.gid, end.proof)]
    assert [f.gid for f in resource.sweep()] == [end.gid]
    for _ in range(2):
        assert resource.finish(end.gid, Decision.COMMIT, end.proof).outcome == "committed"
    resource.close()
    engine.query("DROP OWNED BY plain")
    engine.query("DROP ROLE plain")
