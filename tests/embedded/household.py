"""A home of the embedded stack under test: its commands, its stack, and what is left of it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import psycopg

from orchestrator_site.home import socket_folder
from tests.services import Process, Scratch, free_port, wait_until
from tests.services.process import children_of, run
from tests.services.site import KEPT, ROOT

READY = "Ctrl-C stops everything"
DATABASES = ("demo_ledger", "demo_warehouse", "demo_crm")


class Household:
    """One home. Everything in it is a process of its own, started as people start it: without any service named."""

    def __init__(self, scratch: Scratch, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._scratch = scratch
        self._processes: list[Process] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        return {**kept, "PYTHONUNBUFFERED": "1", "ORCHESTRATOR_HOME": str(self.folder), "PORT": str(self.port)}

    def manage(self, *args: object, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py …` to its end."""
        command = [sys.executable, "manage.py", *map(str, args)]
        return run(command, scratch=self._scratch, timeout=timeout, env={**self.env, **env}, cwd=ROOT)

    def launch(self, *args: object, **params: object) -> subprocess.CompletedProcess[str]:
        """Launch a batch of plan demo for acme."""
        return self.manage("launch_batch", "acme", "demo", *_params(params), *args)

    def popen(self, *args: object, **env: str) -> Process:
        """Start `manage.py …`, with SIGINT as a shell gives it."""
        name = f"{args[0]}-{len(self._processes)}"
        process = Process(
            name,
            ["env", "--default-signal=INT", sys.executable, "manage.py", *map(str, args)],
            scratch=self._scratch,
            env={**self.env, **env},
            cwd=ROOT,
            log_path=self._scratch.folder / "logs" / f"{self.port}-{name}.log",
        )
        self._processes.append(process)
        return process

    def launching(self, *args: object, **params: object) -> Process:
        """Start launching a batch."""
        return self.popen("launch_batch", "acme", "demo", *_params(params), *args)

    def demo(self, **env: str) -> Process:
        """Start the stack and wait until it says that it is up."""
        process = self.popen("demo", **env)
        process.wait_for(READY, 40)
        self.guard()
        return process

    def page(self, path: str = "/accounts/login/") -> HTTPResponse:
        answer: HTTPResponse = urllib.request.urlopen(f"{self.url}{path}", timeout=10)
        return answer

    # What is there.

    def query(self, database: str, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Ask the home's server, which must be up."""
        with psycopg.connect(
            host=str(socket_folder(self.folder)), user="postgres", dbname=database, autocommit=True
        ) as connection:
            return connection.execute(sql, params).fetchall()

    def state(self, batch: str) -> str:
        [(state,)] = self.query("journal", "SELECT state FROM coordination_batch WHERE id = %s", [batch])
        return str(state)

    def wait_for_prepared(self, number: int) -> None:
        """Until so many tasks, of whatever batch, are prepared."""
        wait_until(lambda: len(self.prepared()) >= number, 30, what=f"{number} prepared tasks")

    def prepared(self) -> list[tuple[Any, ...]]:
        return self.query("postgres", "SELECT gid FROM pg_prepared_xacts")

    def rows(self, batch: str) -> list[int]:
        """The batch's rows in each of the three databases: of the server if it is up, else as a person would count."""
        if self.server():
            sql = "SELECT count(*) FROM demo_entry WHERE batch_id = %s"
            return [int(self.query(name, sql, [batch])[0][0]) for name in DATABASES]
        program = (
            "from demo.models import DemoEntry\n"
            f"print([DemoEntry.objects.using(a).filter(batch_id='{batch}').count() for a in {DATABASES}])"
        )
        done = self.manage("shell", "-v0", "-c", program)
        assert done.returncode == 0, done.stderr
        return [int(number) for number in re.findall(r"\d+", done.stdout)]

    def server(self) -> int | None:
        """Process id of the home's PostgreSQL server, None if none runs."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, 0)
            return pid
        return None

    def megabytes(self, process: Process) -> float:
        """What `process` and the home's server take of the machine's memory, each shared page counted once."""
        server = self.server()
        pids = [process.pid, *([server, *children_of(server)] if server else [])]
        total = 0
        for pid in pids:
            with contextlib.suppress(OSError):
                found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
                total += int(found.group(1)) if found else 0
        return total / 1024

    def guard(self) -> None:
        """Have the server killed with the test run, should a test not come to its end."""
        if pid := self.server():
            self._scratch.started(pid)

    def stop(self) -> None:
        """End what still runs."""
        for process in self._processes:
            process.stop()
        if pid := self.server():
            os.kill(pid, signal.SIGINT)
            wait_until(lambda: self.server() is None, 20, what="the home's server to end")


def id_of(said: str) -> str:
    """The id that a launch printed."""
    match = re.search(r"Batch ([0-9a-f-]{36})", said)
    assert match, said
    return match.group(1)


def _params(params: dict[str, object]) -> list[str]:
    return [f"--param={name}={value}" for name, value in params.items()]
