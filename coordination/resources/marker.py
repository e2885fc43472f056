"""The marker table: how any process tells what became of a transaction that another one held open.

1.  A branch inserts its gid within its own transaction, so the row is there if and only if that was committed.
2.  Who wants to know inserts the same gid. It waits while the transaction is open, fails if it was committed; if it
    succeeds, the transaction is gone and can never be committed, because its own row would be the second one.
3.  A row of the second kind says so, or the next who asks would take it for the first.
4.  One more row names the database. A gid that is asked for in another one, such as a file of the same path on
    another machine, would not be found there, and that means nothing.
"""

import contextlib
import secrets

from django.db import DatabaseError, IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from coordination.protocol.states import Outcome

from .base import ResourceError
from .held_engines import run

TABLE = "coordination_marker"
CREATE = f"CREATE TABLE {TABLE} (name varchar(200) NOT NULL PRIMARY KEY, value varchar(40) NOT NULL)"
DONE, GONE = "committed", "gone"

_DATABASE = "database"
_SELECT = f"SELECT value FROM {TABLE} WHERE name = %s"
_INSERT = f"INSERT INTO {TABLE} (name, value) VALUES (%s, %s)"


def database_of(wrapper: BaseDatabaseWrapper) -> str:
    """The name of the database, drawn when it was first asked for. Makes the table. Outside of transactions.

    Raises ResourceError, with the statement to be run by somebody who may, if there is no table and none can be made.
    """
    problem: DatabaseError | None = None
    for statement, params in ((CREATE, ()), (_INSERT, (_DATABASE, secrets.token_hex(8)))):
        with contextlib.suppress(DatabaseError):
            if known := run(wrapper, _SELECT, (_DATABASE,)):
                return str(known[0][0])
        try:
            run(wrapper, statement, params)
        except DatabaseError as error:  # Somebody else may be doing the same.
            problem = problem or error
    try:
        return str(run(wrapper, _SELECT, (_DATABASE,))[0][0])
    except (DatabaseError, IndexError):
        raise ResourceError(
            f"Database {wrapper.alias!r} has no table {TABLE}, which could not be made ({_words(problem)}). "
            f"Have somebody who may run there: {CREATE}; and let the workers' role read and insert."
        ) from problem


def put(wrapper: BaseDatabaseWrapper, gid: str) -> None:
    """Mark the open transaction with ``gid``. Raises DatabaseError."""
    run(wrapper, _INSERT, (gid, DONE))


def is_there(wrapper: BaseDatabaseWrapper, gid: str) -> bool:
    """Whether the mark can be seen from here. Raises DatabaseError."""
    return bool(run(wrapper, _SELECT, (gid,)))


def settle(wrapper: BaseDatabaseWrapper, gid: str) -> tuple[Outcome, str]:
    """What became of ``gid``'s transaction, and how that is known. Whatever is answered but UNKNOWN stays true.

    ``wrapper`` is in autocommit, and does not wait for locks for long.
    """
    try:
        run(wrapper, _INSERT, (gid, GONE))
    except IntegrityError:
        found = run(wrapper, _SELECT, (gid,))
        if found and found[0][0] == DONE:
            return Outcome.COMMITTED, f"Found committed, by its row in {TABLE}"
        if not found:
            return Outcome.UNKNOWN, f"its row in {TABLE} was deleted meanwhile"
    except DatabaseError as error:
        return Outcome.UNKNOWN, f"it may still be open, or its database cannot be asked: {_words(error)}"
    return Outcome.ROLLED_BACK, f"Found not committed, by {TABLE}; nobody can commit it any more"


def _words(error: BaseException | None) -> str:
    return " ".join(str(error or "").split())
