"""The home: the one folder in which the embedded stack keeps everything, and who is in it.

**Users.** Each process that needs the home's databases opens it: the first brings its PostgreSQL up, the last to leave
stops it. A shared lock on `users.lock`, taken and left under `start.lock`, counts them.

**Host.** At most one process hosts manager, bus and worker, since they live in its memory: the one that holds
`stack.lock`. All others write to the journal, where the host finds it.

Locks are the kernel's (`flock`): a killed process holds none, so nothing has to be cleared up after it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator_site.postgresql import HomeError, Server, programs

DATABASES = {
    "default": "journal",
    "demo_ledger": "demo_ledger",
    "demo_warehouse": "demo_warehouse",
    "demo_crm": "demo_crm",
}
"""Django's alias of each of the home's databases, and its name."""
SOCKET_PATH_BYTES = 103
"""What a socket's path may have on every system we know."""


class Home:
    """The home in `folder`. Making this object touches nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Server(folder / "data", socket_folder(folder), folder / "postgresql.log")
        self.has_hosted = False
        self._users: int | None = None
        self._stack: int | None = None

    # Its databases.

    @property
    def is_open(self) -> bool:
        """Whether this process is one of its users."""
        return self._users is not None

    def open(self, say: Callable[[str], None]) -> None:
        """Become a user: afterwards its server runs, with all databases. Raises HomeError.

        `say` gets a line before what takes more than a moment, and for what is changed outside the home.
        """
        with self._understood():
            programs()  # without them nothing is to be made
            self._have_folder()
            with self._locked("start.lock"):
                self._key("secret-key", lambda: secrets.token_urlsafe(50))
                self._key("installation", lambda: secrets.token_hex(4))
                self._key("demo-password", lambda: os.environ.get("DEMO_PASSWORD", "") or secrets.token_urlsafe(9))
                self._users = self._lock("users.lock", fcntl.LOCK_SH)
                try:
                    self.server.start(say)
                    self.server.have_databases(list(DATABASES.values()))
                except BaseException:
                    self._leave()
                    raise

    def close(self) -> None:
        """Leave. The last one out stops the server."""
        self.stop_hosting()
        if self._users is not None:
            with self._locked("start.lock"):
                self._leave()

    @property
    def is_prepared(self) -> bool:
        """Whether the databases have had all they need, once."""
        return (self.folder / "prepared").exists()

    @contextlib.contextmanager
    def preparing(self, *, always: bool) -> Iterator[bool]:
        """Held by one process at a time while it makes what the databases need; gives whether there is something to do.

        That is when `always` is asked for, or it was never done to its end.
        """
        with self._locked("prepare.lock"):
            if self.is_prepared and not always:
                yield False
            else:
                yield True
                if not self.is_prepared:
                    (self.folder / "prepared").touch()

    # Who hosts.

    @property
    def is_hosting(self) -> bool:
        """Whether this process is the host."""
        return self._stack is not None

    def host(self, url: str = "") -> bool:
        """Become the host if nobody is, serving pages at `url`; whether this process now is."""
        if self._stack is None:
            with contextlib.suppress(BlockingIOError):
                self._stack = self._lock("stack.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.has_hosted = True
                os.ftruncate(self._stack, 0)
                os.pwrite(self._stack, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)
        return self._stack is not None

    def stop_hosting(self) -> None:
        """Let another process host."""
        if self._stack is not None:
            os.ftruncate(self._stack, 0)
            os.close(self._stack)
            self._stack = None

    def the_host(self) -> dict[str, Any]:
        """What the host says of itself: `pid`, and `url` if it serves pages. Empty if there is none."""
        try:
            descriptor = os.open(self.folder / "stack.lock", os.O_RDONLY)
        except OSError:
            return {}
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _said(os.pread(descriptor, 1000, 0))
        finally:
            os.close(descriptor)
        return {}

    # What was made once. Empty in a home that nobody has opened.

    @property
    def secret_key(self) -> str:
        """Django's secret key."""
        return self._kept("secret-key")

    @property
    def installation(self) -> str:
        """The installation's id."""
        return self._kept("installation")

    @property
    def demo_password(self) -> str:
        """The demo people's password."""
        return self._kept("demo-password")

    def _kept(self, name: str) -> str:
        try:
            return (self.folder / name).read_text().strip()
        except OSError:
            return ""

    def _key(self, name: str, make: Callable[[], str]) -> None:
        if self._kept(name):
            return
        part = self.folder / f"{name}.part"
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{make()}\n")
        part.rename(self.folder / name)

    def _have_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        owner = self.folder.stat().st_uid
        if os.geteuid() not in {0, owner}:
            raise HomeError(
                f"{self.folder} belongs to another account (number {owner}): run me as that one, or set "
                "ORCHESTRATOR_HOME to a folder of your own."
            )

    def _leave(self) -> None:
        """Give up being a user, and stop the server if nobody is left. Under start.lock."""
        users, self._users = self._users, None
        if users is None:
            return
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.server.stop()
        except BlockingIOError:
            pass  # others are here
        finally:
            os.close(users)

    def _lock(self, name: str, kind: int) -> int:
        descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.geteuid() == 0:  # in somebody's home, it must stay theirs
                owner = self.folder.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            fcntl.flock(descriptor, kind)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        descriptor = self._lock(name, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HomeError(
                f"The home {self.folder} cannot be used ({error.strerror or error}: {error.filename}). "
                "Set ORCHESTRATOR_HOME to a folder that you may write to."
            ) from error


def _said(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:  # it has the lock, and is about to say
        said = None
    return said if isinstance(said, dict) else {"pid": 0, "url": ""}


def socket_folder(folder: Path) -> Path:
    """Where the server's socket is: in the home, or in the temporary folder if that path cannot be a socket's.

    It must be short, and libpq takes a comma for the end of one host's name, PostgreSQL a double quote.
    """
    ours = folder / "run"
    if len(os.fsencode(ours / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES and not {",", '"'} & set(str(ours)):
        return ours
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path("/tmp") / f"orchestrator-{digest}"  # whatever TMPDIR says: all of the home's users must meet there


def database(folder: Path, alias: str) -> dict[str, Any]:
    """Django's settings of one of the home's databases."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DATABASES[alias],
        "USER": "postgres",
        "HOST": str(socket_folder(folder)),
    }


@cache
def home_in(folder: Path) -> Home:
    """This process's one object for the home in `folder`."""
    return Home(folder)
