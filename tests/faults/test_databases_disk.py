"""A database whose disk is full."""

import resource
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from coordination.protocol.states import Decision, Outcome
from tests.faults.scripted import APPS
from tests.integration.participant.standin import Manager
from tests.services import PostgreSQL, Site, wait_until

TASKS = "tests.faults.trouble.tasks."

MEGABYTES = 24


@pytest.fixture
def small_disk(own: Callable[..., PostgreSQL], tmp_path: Path) -> Iterator[PostgreSQL]:
    """A server with a database ``crm`` whose tables can have 24 MB: on a small disk of its own.

    Where nobody may mount one, the system lets no file of the server's grow over that: the same error, at a table.
    """
    server = own(PostgreSQL, f"full-{secrets.token_hex(3)}", databases=["crm"], max_prepared_transactions=20)
    folder = server._home / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=777", "tmpfs", str(folder)], capture_output=True
    )  # fmt: skip
    try:
        if mounted.returncode == 0:
            shutil.chown(folder, server._data.stat().st_uid, server._data.stat().st_gid)
            server.query("postgres", f"CREATE TABLESPACE small LOCATION '{folder}'")
            server.query("postgres", "ALTER DATABASE crm SET default_tablespace = small")
        else:
            assert server.process is not None
            limit = MEGABYTES * 2**20
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        print("a small disk" if mounted.returncode == 0 else "a limit to the size of files")
        yield server
    finally:
        server.stop("immediate")
        if mounted.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)


def test_the_disk_is_full(orm: Site, small_disk: PostgreSQL) -> None:
    """Row 39. What is prepared survives it, also a restart; what comes later votes rollback with the server's words."""
    table = "CREATE TABLE demo_entry (id bigserial PRIMARY KEY, batch_id uuid, branch int, n int, value text)"
    small_disk.query("crm", table)
    small_disk.query("crm", "CREATE TABLE filler (x text)")
    before = dict(part.partition("=")[::2] for part in orm.settings["TARGET_DATABASES"].split(","))
    targets = ",".join(f"{a}={u}" for a, u in {**before, "demo_crm": small_disk.url_of("crm")}.items())
    manager = Manager(orm.rabbitmq, of=4, queue=f"full-{secrets.token_hex(4)}")
    with orm.worker("threads", 1, f"--queues={manager.tasks_queue}", env={**APPS, "TARGET_DATABASES": targets}):
        try:
            for number in (1, 2):
                manager.send(TASKS + "writes", number=number, alias="demo_crm")
            manager.wait(lambda: len(manager.votes) == 2, 40)
            first = list(manager.votes)
            with pytest.raises(psycopg.Error, match=r"extend file|wrote only|write to file"):
                small_disk.query("crm", "INSERT INTO filler SELECT repeat('x', 2000) FROM generate_series(1, 100000)")
            for number in (3, 4):
                manager.send(TASKS + "fills", number=number, alias="demo_crm")
            manager.wait(lambda: len(manager.votes) == 4, 40)
            late = manager.votes[2:]
            assert {vote.vote for vote in first} == {Decision.COMMIT}
            assert {vote.vote for vote in late} == {Decision.ROLLBACK}
            words = late[0].error.message if late[0].error else ""
            print("its words:", words)
            assert "could not extend file" in words or "could not write to file" in words
            small_disk.restart()
            assert {vote.gid for vote in first} == {gid for _, gid in small_disk.prepared()}
            for vote in first:
                manager.recover("demo_crm", manager.order(vote, Decision.COMMIT))
            manager.wait(lambda: len(manager.ends) == 2, 40)
        finally:
            manager.close()
    assert {end.outcome for end in manager.ends.values()} == {Outcome.COMMITTED}
    assert small_disk.prepared() == []
    wait_until(lambda: small_disk.query("crm", "SELECT count(*) FROM demo_entry")[0][0] == 2, 5, what="two rows")
