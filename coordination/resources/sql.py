"""What a statement is, told by its first words: enough to stop honest mistakes, not an attacker.

What slips through (two statements in one string, the driver's own methods) is found by asking the database later.
"""

import re
from typing import Any

_LEAD = r"(?:\s|;|\(|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*"
_FIRST = re.compile(_LEAD + r"([A-Za-z]+)", re.DOTALL)
_ENDS = re.compile(
    _LEAD + r"(?:COMMIT|END|ABORT|BEGIN|START\s+TRANSACTION|PREPARE\s+TRANSACTION|XA"
    r"|ROLLBACK(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b))\b",
    re.DOTALL | re.IGNORECASE,
)
_SAVEPOINT = re.compile(
    _LEAD + r"(SAVEPOINT|RELEASE|ROLLBACK)\b.*?([\w$]+|\"[^\"]+\"|`[^`]+`)[\s;]*\Z", re.DOTALL | re.IGNORECASE
)
_SESSION = re.compile(
    r"\A" + _LEAD + r"(?:SET\s+(?!LOCAL\b|CONSTRAINTS\b|TRANSACTION\b)"
    r"|RESET\b|LISTEN\b|LOAD\b|DISCARD\b|PREPARE\s+(?!TRANSACTION))|\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(|\bset_config\s*\(",
    re.DOTALL | re.IGNORECASE,
)  # fmt: skip

_READS = frozenset({"SELECT", "SHOW", "EXPLAIN", "VALUES", "TABLE", "FETCH", "DECLARE", "CLOSE", "MOVE", "PRAGMA"})
_HARMLESS = frozenset({"SAVEPOINT", "RELEASE", "ROLLBACK", "SET", "RESET", "BEGIN", "COMMIT", "START"})
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})
_CHANGING = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_MAY_END = frozenset({"COMMIT", "END", "ABORT", "BEGIN", "START", "PREPARE", "XA", "ROLLBACK"})
_SAVEPOINT_WORDS = frozenset({"SAVEPOINT", "RELEASE", "ROLLBACK"})


def text_of(sql: Any) -> str:
    """The statement as text, whatever a cursor was given: text, bytes, or a driver's composed object."""
    if isinstance(sql, str):
        return sql
    if isinstance(sql, bytes):
        return sql.decode("utf-8", "replace")
    return str(sql.as_string(None)) if hasattr(sql, "as_string") else str(sql)


def first_word(sql: str) -> str:
    """Its first word, in capitals; empty for none."""
    match = _FIRST.match(sql)
    return match[1].upper() if match else ""


def ends_transaction(sql: str, word: str) -> bool:
    """Whether it would end the transaction, or begin another. ``word`` is its first word."""
    return word in _MAY_END and _ENDS.match(sql) is not None


def savepoint(sql: str, word: str) -> tuple[str, str] | None:
    """``(word, name of the savepoint)`` of SAVEPOINT, RELEASE and ROLLBACK TO; None for anything else."""
    if word not in _SAVEPOINT_WORDS:
        return None
    match = _SAVEPOINT.match(sql)
    return (word, match[2].strip('"`')) if match else None


def changes_rows(word: str) -> bool:
    """Whether a statement with this first word changes rows and counts them."""
    return word in _CHANGES


def writes(sql: str, word: str) -> bool:
    """Whether it may change the database. What is not known to be a read is taken for a write."""
    if word == "WITH":
        return _CHANGING.search(sql) is not None
    return bool(word) and word not in _READS and word not in _HARMLESS


def touches_session(sql: str) -> bool:
    """Whether it may leave something in the session that outlives the transaction."""
    return _SESSION.search(sql) is not None
