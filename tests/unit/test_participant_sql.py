"""What a statement is taken for."""

import pytest

from coordination.resources import sql


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("COMMIT", True), ("  commit work ;", True), ("/* a */ -- b\n COMMIT AND CHAIN", True), ("END", True),
        ("ROLLBACK", True), ("ROLLBACK WORK", True), ("ROLLBACK PREPARED 'x'", True), ("ABORT", True),
        ("BEGIN", True), ("START TRANSACTION", True), ("PREPARE TRANSACTION 'x'", True), ("XA COMMIT 'x'", True),
        ("ROLLBACK TO SAVEPOINT s", False), ("rollback work to s", False), ("SAVEPOINT s", False),
        ("PREPARE p AS SELECT 1", False), ("SELECT 'COMMIT'", False), ("INSERT INTO t VALUES ('; COMMIT')", False),
        ("START REPLICATION", False), ("", False), ("/* COMMIT */", False), ("ENDED", False),
    ],
)  # fmt: skip
def test_what_ends_the_transaction(text: str, ends: bool) -> None:
    assert sql.ends_transaction(text, sql.first_word(text)) is ends


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('SAVEPOINT "s1_x1"', ("SAVEPOINT", "s1_x1")), ("RELEASE SAVEPOINT s", ("RELEASE", "s")),
        ('ROLLBACK TO SAVEPOINT "s1_x1"', ("ROLLBACK", "s1_x1")), ("rollback work to s;", ("ROLLBACK", "s")),
        ("SELECT 1", None),
    ],
)  # fmt: skip
def test_savepoints(text: str, found: tuple[str, str] | None) -> None:
    assert sql.savepoint(text, sql.first_word(text)) == found


@pytest.mark.parametrize(
    ("text", "writes"),
    [
        ("SELECT 1", False), ("(SELECT 1) UNION (SELECT 2)", False), ("/* x */ select 1", False), ("SHOW x", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False), ("EXPLAIN SELECT 1", False), ("SAVEPOINT s", False),
        ("SET search_path = x", False), ("INSERT INTO t VALUES (1)", True), ("update t set a = 1", True),
        ("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", True), ("CREATE TABLE t ()", True),
        ("TRUNCATE t", True), ("COPY t FROM STDIN", True), ("CALL p()", True), ("DO $$BEGIN END$$", True),
        ("LOCK TABLE t", True), ("GRANT ALL ON t TO u", True),
    ],
)  # fmt: skip
def test_what_writes(text: str, writes: bool) -> None:
    """What is not known for a read is taken for a write."""
    assert sql.writes(text, sql.first_word(text)) is writes


@pytest.mark.parametrize(
    ("text", "touches"),
    [
        ("SET work_mem = '1MB'", True), ("set session x to 1", True), ("RESET ALL", True), ("LISTEN a", True),
        ("PREPARE p AS SELECT 1", True), ("SELECT pg_advisory_lock(1)", True),
        ("SELECT set_config('a', 'b', false)", True),
        ("SET LOCAL work_mem = '1MB'", False), ("SET CONSTRAINTS ALL DEFERRED", False), ("SELECT 1", False),
        ("SELECT pg_advisory_xact_lock(1)", False),
    ],
)  # fmt: skip
def test_what_outlives_the_transaction(text: str, touches: bool) -> None:
    assert sql.touches_session(text) is touches


def test_statements_come_in_several_forms() -> None:
    from psycopg.sql import SQL, Identifier

    assert sql.text_of(b"COMMIT") == "COMMIT"
    assert sql.text_of(SQL("SELECT {}").format(Identifier("a"))) == 'SELECT "a"'
