"""The machine under the test services: programs, ports, temporary folders, and the guard that clears up."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_handed_out: set[int] = set()


class MissingProgram(Exception):
    """A program that the tests need is not installed; the message says which package brings it."""


def find_program(name: str, *folders: str, package: str) -> str:
    """The path of the program `name`, looked for in `folders`, then on PATH.

    Raises `MissingProgram`, never skips: a test that did not run has shown nothing.
    """
    for folder in folders:
        candidate = Path(folder) / name
        if os.access(candidate, os.X_OK):
            return str(candidate)
    found = shutil.which(name)
    if found is None:
        raise MissingProgram(
            f"{name} is not installed. As root on Debian: apt-get install {package} (`make test` does that for root)."
        )
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, below those that the kernel hands out by itself, so that it
    stays free until its server starts."""
    # Runs side by side keep apart: a port that is handed out is not listened on yet.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    width = 12000 // workers
    for _ in range(1000):
        port = 20000 + worker * width + random.randrange(width)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise RuntimeError("No free port between 20000 and 32000.")


def is_listening(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:`port`."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(
    condition: Callable[[], T], timeout: float = 20, *, every: float = 0.1, what: str | Callable[[], str] = ""
) -> T:
    """Call `condition` until it returns something true, and return that.

    Raises `TimeoutError` after `timeout` seconds, saying `what` was waited for and what was last returned. Exceptions
    of `condition` pass through.
    """
    until = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= until:
            words = what() if callable(what) else what or getattr(condition, "__name__", "a condition")
            raise TimeoutError(f"Waited {timeout:g} s in vain for {words}; last seen: {result!r}")
        time.sleep(every)


class Scratch:
    """A temporary folder for all services of a test run, and the guard that outlives the run to clear up after it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cc-tests-"))
        # As root PostgreSQL runs under another account, which must be able to pass through.
        self.folder.chmod(0o711)
        self._guard: subprocess.Popen[str] | None = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("reaper.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd="/",
        )
        self._tell(f"folder {self.folder}")

    def started(self, group: int) -> None:
        """Note that the process group `group` is to die with this test run."""
        self._tell(f"group {group}")

    def ended(self, group: int) -> None:
        """Note that the process group `group` has ended."""
        self._tell(f"gone {group}")

    def close(self) -> None:
        """Remove the folder and let the guard go."""
        if self._guard is None:
            return
        guard, self._guard = self._guard, None
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait(timeout=30)

    def _tell(self, line: str) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(line + "\n")
            self._guard.stdin.flush()
