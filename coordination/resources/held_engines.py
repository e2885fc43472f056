"""What differs between engines when a transaction is held open: locks, deferred constraints, who may end it.

:class:`Engine` is any of Django's; those that need more have a class of their own.
"""

import os
import sqlite3
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq

from .base import CannotBegin

DENIED = "not authorized"
"""What SQLite says to a body that would begin or end a transaction."""


def run(wrapper: BaseDatabaseWrapper, sql: str, params: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
    """One statement of our own, past what watches the body's; its rows. Raises Django's database errors."""
    with wrapper.wrap_database_errors:
        if wrapper.connection is None:
            raise OperationalError("the connection is closed")
        cursor: Any = wrapper.create_cursor()
        try:
            cursor.execute(sql, params) if params else cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            cursor.close()


class Engine:
    """Any engine. One object a resource; its methods are for one connection at a time."""

    asks_a_stranger = True
    """Whether a second connection is asked if it sees what the branch wrote, which it would after a hidden COMMIT."""

    def settings(self, settings: dict[str, Any]) -> None:
        """Change the alias's settings for connections of ours. Raises CannotBegin if there is nothing to connect to."""

    def limit_waits(self, wrapper: BaseDatabaseWrapper, seconds: float, *, local: bool) -> None:
        """Have statements wait for a lock no longer than that; ``local``: until the transaction ends."""

    def begun(self, wrapper: BaseDatabaseWrapper) -> None:
        """The transaction is open, and the body about to run."""

    def check(self, wrapper: BaseDatabaseWrapper) -> None:
        """Check now what COMMIT would check. Raises Django's IntegrityError, as COMMIT would."""

    def ended(self, wrapper: BaseDatabaseWrapper) -> None:
        """The body has ended: from here on the transaction is ours to end."""

    def stands(self, wrapper: BaseDatabaseWrapper) -> None:
        """Raises OperationalError if the transaction is not open and healthy, where COMMIT would hide that."""

    def identity(self, wrapper: BaseDatabaseWrapper) -> object:
        """What must not change while the transaction is held, beyond what the database itself can be asked."""
        return None

    def is_open(self, wrapper: BaseDatabaseWrapper) -> bool:
        """Whether a COMMIT that failed has left its transaction open, so that it can be tried again."""
        return False

    def is_locked(self, error: BaseException) -> bool:
        """Whether ``error`` says that somebody else held a lock for too long."""
        return False

    def interrupt(self, wrapper: BaseDatabaseWrapper) -> None:
        """End the statement that runs in another thread. May raise anything."""


class MySQL(Engine):
    """MySQL and MariaDB: InnoDB checks constraints at once."""

    def limit_waits(self, wrapper: BaseDatabaseWrapper, seconds: float, *, local: bool) -> None:
        run(wrapper, f"SET SESSION innodb_lock_wait_timeout = {max(1, round(seconds))}")


class PostgreSQL(Engine):
    """PostgreSQL that cannot, or is not to, prepare."""

    def limit_waits(self, wrapper: BaseDatabaseWrapper, seconds: float, *, local: bool) -> None:
        # The server has to notice a holder whose machine is gone, or what that has locked stays so for hours.
        settings = {
            "lock_timeout": str(max(1, round(seconds * 1000))), "idle_in_transaction_session_timeout": "0",
            "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
        }  # fmt: skip
        calls = ", ".join(f"set_config('{name}', '{value}', {local})" for name, value in settings.items())
        run(wrapper, f"SELECT {calls}")

    def check(self, wrapper: BaseDatabaseWrapper) -> None:
        run(wrapper, "SET CONSTRAINTS ALL IMMEDIATE")

    def stands(self, wrapper: BaseDatabaseWrapper) -> None:
        raw: Any = wrapper.connection
        if raw.pgconn.transaction_status != pq.TransactionStatus.INTRANS:
            # COMMIT of an aborted transaction is not refused: the server rolls back, without any error.
            raise OperationalError("its transaction was aborted")

    def is_locked(self, error: BaseException) -> bool:
        return str(getattr(error.__cause__, "sqlstate", "")) == "55P03"

    def interrupt(self, wrapper: BaseDatabaseWrapper) -> None:
        raw: Any = wrapper.connection
        raw.cancel_safe(timeout=3.0)


class SQLite(Engine):
    """SQLite: one writer, which it is from BEGIN on; a file that can be taken away; locks met at COMMIT as well."""

    asks_a_stranger = False  # The authorizer refuses what would have to be found out.

    def __init__(self) -> None:
        self._touched: set[str] = set()
        """Tables written to in the open transaction: there is one at a time."""

    def settings(self, settings: dict[str, Any]) -> None:
        settings["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
        name = str(settings["NAME"])
        if not name.startswith("file:"):
            settings["NAME"] = f"file:{quote(name)}?mode=rw"  # A file that is not there is not to be made.
            if not os.path.exists(name):
                raise CannotBegin(
                    f"there is no file {name} where its worker runs: make it by manage.py migrate --database=…, or see"
                    " that only workers that have it get this customer's tasks"
                )

    def limit_waits(self, wrapper: BaseDatabaseWrapper, seconds: float, *, local: bool) -> None:
        run(wrapper, f"PRAGMA busy_timeout = {max(1, round(seconds * 1000))}")

    def begun(self, wrapper: BaseDatabaseWrapper) -> None:
        """From here on no statement begins or ends a transaction, the driver's own neither; savepoints pass."""
        self._touched = touched = set()

        def authorize(action: int, first: str | None, *_: str | None) -> int:
            if action == sqlite3.SQLITE_TRANSACTION:
                return sqlite3.SQLITE_DENY
            if first and action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE):
                touched.add(first)
            return sqlite3.SQLITE_OK

        self._raw(wrapper).set_authorizer(authorize)

    def check(self, wrapper: BaseDatabaseWrapper) -> None:
        """Foreign keys of tables that were written to, and of those that refer to them."""
        for (table,) in run(wrapper, "SELECT name FROM sqlite_master WHERE type = 'table'"):
            name = connections[wrapper.alias].ops.quote_name(table)
            parents = {row[2] for row in run(wrapper, f"PRAGMA foreign_key_list({name})")}
            if parents and self._touched & {table, *parents}:
                wrapper.check_constraints([table])

    def ended(self, wrapper: BaseDatabaseWrapper) -> None:
        self._raw(wrapper).set_authorizer(None)

    def stands(self, wrapper: BaseDatabaseWrapper) -> None:
        if not self._raw(wrapper).in_transaction:
            raise OperationalError("its transaction was ended")

    def identity(self, wrapper: BaseDatabaseWrapper) -> object:
        """The file that lies where the settings say now; one that was put in its place gets no COMMIT of ours."""
        try:
            found = os.stat(str(connections.settings[wrapper.alias]["NAME"]))
        except OSError as error:
            return f"its file: {error.strerror}"
        return found.st_dev, found.st_ino

    def is_open(self, wrapper: BaseDatabaseWrapper) -> bool:
        return wrapper.connection is not None and bool(self._raw(wrapper).in_transaction)

    def is_locked(self, error: BaseException) -> bool:
        return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

    def interrupt(self, wrapper: BaseDatabaseWrapper) -> None:
        self._raw(wrapper).interrupt()

    @staticmethod
    def _raw(wrapper: BaseDatabaseWrapper) -> Any:
        if wrapper.connection is None:
            raise OperationalError("the connection is closed")
        return wrapper.connection


def engine_of(alias: str) -> Engine:
    """What is needed for the engine of ``alias``."""
    known: dict[str, type[Engine]] = {"mysql": MySQL, "postgresql": PostgreSQL, "sqlite": SQLite}
    return known.get(connections[alias].vendor, Engine)()
