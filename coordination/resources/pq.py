"""Questions to PostgreSQL straight over libpq: one round trip for several statements, and past every cursor.

Django's execute wrappers and psycopg's implicit BEGIN are for the task's body; the protocol's own statements need the
server's exact answer, and cost a third this way.
"""

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq

_OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_FIELD = pq.DiagnosticField


class Said(Exception):
    """The server answered with an error, and the connection lives."""

    def __init__(self, sqlstate: str, words: str) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate
        self.words = words


class Lost(Exception):
    """The connection is gone, before or after the server did what it was told."""


def ask(wrapper: BaseDatabaseWrapper, statement: str) -> Any:
    """Send ``statement`` and return the result of its last part. Raises Said, Lost."""
    raw: Any = wrapper.connection
    if raw is None:
        raise Lost("the connection is closed")
    try:
        result = raw.pgconn.exec_(statement.encode())
    except Exception as error:
        raise Lost(str(error).strip()) from error
    if result.status in _OK:
        return result
    words = (result.error_message or b"").decode("utf-8", "replace").strip()
    if raw.pgconn.status != pq.ConnStatus.OK or _field(result, _FIELD.SEVERITY_NONLOCALIZED) in ("FATAL", "PANIC", ""):
        raise Lost(words or "the connection was lost")
    primary, hint = _field(result, _FIELD.MESSAGE_PRIMARY), _field(result, _FIELD.MESSAGE_HINT)
    detail = _field(result, _FIELD.MESSAGE_DETAIL)
    raise Said(_field(result, _FIELD.SQLSTATE), " — ".join(part for part in (primary, detail, hint) if part) or words)


def rows(result: Any) -> Sequence[tuple[str | None, ...]]:
    """All rows of a result, as text."""
    return [
        tuple(
            value.decode() if (value := result.get_value(row, column)) is not None else None
            for column in range(result.nfields)
        )
        for row in range(result.ntuples)
    ]


def quoted(text: str) -> str:
    """``text`` as a literal; for our own names, which hold neither quotes nor backslashes. Raises ValueError."""
    if "'" in text or "\\" in text or "\x00" in text:
        raise ValueError(f"{text!r} is not one of our names")
    return f"'{text}'"


def idle(wrapper: BaseDatabaseWrapper) -> bool:
    """Whether the connection lives and no transaction is open on it."""
    raw: Any = wrapper.connection
    return raw is not None and raw.pgconn.transaction_status == pq.TransactionStatus.IDLE


def in_error(wrapper: BaseDatabaseWrapper) -> bool:
    """Whether the open transaction is aborted, or the connection is gone."""
    raw: Any = wrapper.connection
    return raw is None or raw.pgconn.transaction_status != pq.TransactionStatus.INTRANS


def _field(result: Any, name: Any) -> str:
    value = result.error_field(name)
    return value.decode("utf-8", "replace") if value else ""
