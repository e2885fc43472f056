"""A program under test: started in a process group of its own, with its output in a file."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.services.machine import Scratch


class ProcessFailed(AssertionError):
    """A process ended, or kept silent, while a test relied on it; the message ends with the tail of its log."""


class Process:
    """One running program. Its standard output and standard error go to `log_path`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        scratch: Scratch,
        env: Mapping[str, str],
        cwd: str | Path,
        log_path: Path,
        **options: Any,
    ) -> None:
        """Start `command`. `options` go to `subprocess.Popen` as they are."""
        self.name = name
        self.log_path = log_path
        self._scratch = scratch
        self._read_from = log_path.stat().st_size if log_path.exists() else 0
        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        self.pid = self._popen.pid
        scratch.started(self.pid)

    def __repr__(self) -> str:
        return f"<{self.name} {self.pid} {'running' if self.alive else f'ended {self.returncode}'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the main process runs."""
        return self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """How the main process ended; None while it runs. Minus the signal's number if it was killed."""
        return self._popen.poll()

    @property
    def log(self) -> str:
        """All it has written since this start."""
        with self.log_path.open("rb") as file:
            file.seek(self._read_from)
            return file.read().decode(errors="replace")

    def tail(self, lines: int = 40) -> str:
        """The last `lines` lines of its log."""
        return "\n".join(self.log.splitlines()[-lines:])

    def wait_for(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until the regular expression `pattern` is found in the log, and return the match."""
        until = time.monotonic() + timeout
        while True:
            alive = self.alive
            match = re.search(pattern, self.log)
            if match:
                return match
            if not alive:
                raise ProcessFailed(f"{self.name} ended with {self.returncode} before {pattern!r}:\n{self.tail()}")
            if time.monotonic() > until:
                raise ProcessFailed(f"{self.name} did not say {pattern!r} within {timeout:g} s:\n{self.tail()}")
            time.sleep(0.05)

    def wait(self, timeout: float = 30) -> int:
        """Wait until it has ended by itself, and return how."""
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"{self.name} still runs after {timeout:g} s:\n{self.tail()}") from None
        self._clear_group()
        return code

    def children(self) -> list[int]:
        """Process ids of the main process's children, oldest first."""
        return children_of(self.pid)

    def send(self, number: int) -> None:
        """Send a signal to the main process alone, as a supervisor should."""
        if self.alive:
            os.kill(self.pid, number)

    def suspend(self) -> None:
        """Stop the whole group where it stands (SIGSTOP)."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self, timeout: float = 15, number: int = signal.SIGTERM) -> int | None:
        """Ask it to end, wait, and kill what is left. Returns how the main process ended."""
        if self.alive:
            self.send(number)
            self.send(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        return self.kill()

    def kill(self) -> int | None:
        """Kill the whole group at once (SIGKILL), as a power cut would."""
        self._clear_group()
        return self._popen.wait(10)

    def _clear_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(10)
        self._scratch.ended(self.pid)


def run(
    command: Sequence[str], *, scratch: Scratch, timeout: float, input: str | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with its output captured as text, and nothing of it outlives the test run or the time limit.

    Raises `ProcessFailed` with what it wrote when `timeout` seconds have passed.
    """
    with subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    ) as popen:
        scratch.started(popen.pid)
        try:
            output, errors = popen.communicate(input, timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            output, errors = popen.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                words = f"{' '.join(command)} still ran after {timeout:g} s:"
                raise ProcessFailed(f"{words}\n{output}\n{errors}") from None
            raise
        finally:
            scratch.ended(popen.pid)
    return subprocess.CompletedProcess(list(command), popen.returncode, output, errors)


def children_of(parent: int) -> list[int]:
    """Process ids of all living children of `parent`, in order of their ids."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[1]) == parent and after_name[0] != "Z":
                    found.append(int(entry.name))
    return sorted(found)
