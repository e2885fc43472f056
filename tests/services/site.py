"""The whole site on test services: its environment, its commands, and its long-running processes."""

import os
import re
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.error import HTTPError, URLError

from tests.services.machine import Scratch, free_port, wait_until
from tests.services.postgresql import PostgreSQL
from tests.services.process import Process, ProcessFailed, run
from tests.services.rabbitmq import RabbitMQ
from tests.services.redis import Redis

ROOT = Path(__file__).resolve().parent.parent.parent

T = TypeVar("T")

# What is kept of the machine's environment: enough to run Python, nothing that could configure the site.
KEPT = re.compile(r"PATH|HOME|LANG|LC_.*|TMPDIR|TZ|USER|SSL_CERT_.*|COVERAGE_.*|CI")


class Site:
    """The site on two PostgreSQL servers, RabbitMQ and Redis. Nothing of it runs until it is asked to.

    The journal and the targets `demo_ledger` and `demo_warehouse` are on the first server, `demo_crm` on the second.
    """

    def __init__(
        self, *, scratch: Scratch, rabbitmq: RabbitMQ, postgres: PostgreSQL, postgres2: PostgreSQL, redis: Redis
    ) -> None:
        self.rabbitmq, self.redis = rabbitmq, redis
        self.postgres, self.postgres2 = postgres, postgres2
        self.databases: dict[str, tuple[PostgreSQL, str]] = {
            "default": (postgres, "journal"),
            "demo_ledger": (postgres, "demo_ledger"),
            "demo_warehouse": (postgres, "demo_warehouse"),
            "demo_crm": (postgres2, "demo_crm"),
        }
        self.python = [sys.executable]
        self.installation = secrets.token_hex(4)
        self.web_port = free_port()
        self.public_url = f"http://localhost:{self.web_port}"
        self.processes: list[Process] = []
        self._scratch = scratch
        self._logs = scratch.folder / "logs"
        self._logs.mkdir()
        self._home = scratch.folder / "home"
        self._started = 0
        self._migrated = False
        self._peopled = False
        targets = {alias: server.url_of(name) for alias, (server, name) in self.databases.items() if alias != "default"}
        self.settings = {
            "AMQP_URL": rabbitmq.url,
            "DATABASE_URL": postgres.url_of("journal"),
            "REDIS_URL": redis.url,
            "TARGET_DATABASES": ",".join(f"{alias}={url}" for alias, url in targets.items()),
            "SECRET_KEY": secrets.token_urlsafe(50),
            "COORDINATION_INSTALLATION": self.installation,
            "PUBLIC_URL": self.public_url,
            "ORCHESTRATOR_HOME": str(self._home),
        }

    @property
    def env(self) -> dict[str, str]:
        """A complete environment for a process of the site: its settings and a few of the machine's variables."""
        kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        return {
            **kept,
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings",
            **self.settings,
        }

    def start(self) -> None:
        """Start what of the services does not run, and make the tables, once."""
        services = (self.rabbitmq, self.postgres, self.postgres2, self.redis)
        with ThreadPoolExecutor(len(services)) as together:
            for started in [together.submit(service.start) for service in services]:
                started.result()
        self.migrate()

    def migrate(self) -> None:
        """Make the tables of all four databases, the first time it is called."""
        if self._migrated:
            return
        program = (
            "import django; django.setup()\n"
            "from django.core.management import call_command\n"
            f"for alias in {list(self.databases)!r}: call_command('migrate', database=alias, verbosity=0)\n"
        )
        self.run([sys.executable, "-c", program], check=True)
        self._migrated = True

    def demo_data(self) -> None:
        """Make the demo's customers and people, the first time it is called. Their password is `for the tests`."""
        if not self._peopled:
            self.manage("demo_data", check=True, env={"DEMO_PASSWORD": "for the tests"})
            self._peopled = True

    # Commands.

    def manage(
        self, command: str, *args: object, timeout: float = 60, check: bool = False, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `manage.py command …` to its end; `env` is added to the site's. With `check`, it must exit 0."""
        return self.run([sys.executable, "manage.py", command, *map(str, args)], timeout=timeout, check=check, env=env)

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float = 60,
        check: bool = False,
        env: dict[str, str] | None = None,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run any command in the project's folder with the site's environment."""
        done = run(
            command,
            scratch=self._scratch,
            timeout=timeout,
            input=input,
            env={**self.env, **(env or {})},
            cwd=ROOT,
        )
        if check and done.returncode:
            words = " ".join(command[1:3])
            raise ProcessFailed(f"{words} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def piped(self, command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a command that is talked to over its standard input and output. It ends with the test run."""
        pipe = subprocess.PIPE
        popen = subprocess.Popen(
            list(command), stdin=pipe, stdout=pipe, text=True, start_new_session=True, env={**self.env, **env}, cwd=ROOT
        )
        self._scratch.started(popen.pid)
        return popen

    # Long-running processes.

    def popen(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: str = "",
        timeout: float = 40,
        env: dict[str, str] | None = None,
    ) -> Process:
        """Start a long-running command of the site; with `ready`, wait until its log shows that pattern."""
        self._started += 1
        process = Process(
            f"{name}-{self._started}",
            list(command),
            scratch=self._scratch,
            env={**self.env, **(env or {})},
            cwd=ROOT,
            log_path=self._logs / f"{name}-{self._started}.log",
        )
        self.processes.append(process)
        if ready:
            process.wait_for(ready, timeout)
        return process

    def node(self, *args: str, env: dict[str, str] | None = None, wait: bool = True) -> Process:
        """Start a node (`manage.py runmanager`)."""
        return self.popen(
            "node",
            [sys.executable, "manage.py", "runmanager", *args],
            ready=r"Node .* ready" if wait else "",
            env=env,
        )

    def worker(
        self,
        pool: Literal["prefork", "threads", "solo"] = "prefork",
        concurrency: int = 2,
        *args: str,
        env: dict[str, str] | None = None,
        wait: bool = True,
    ) -> Process:
        """Start a Celery worker of the site. `args` are added to its command line (`-Q`, `--max-tasks-per-child=1`)."""
        return self.popen(
            f"worker-{pool}",
            [
                *(sys.executable, "-m", "celery", "-A", "orchestrator_site", "worker", "--loglevel=INFO"),
                *("--without-gossip", "--without-mingle", f"--pool={pool}", f"--concurrency={concurrency}"),
                *("-n", f"{pool}{self._started + 1}@test", *args),
            ],
            ready=r"@test ready\." if wait else "",
            env=env,
        )

    def web(self) -> Process:
        """Start the web server on `public_url`."""
        process = self.popen(
            "web",
            [
                *(sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.web_port)),
                *("--no-server-name", "orchestrator_site.asgi:application"),
            ],
        )

        def answers() -> bool:
            if not process.alive:
                raise ProcessFailed(f"The web server ended with {process.returncode}:\n{process.tail()}")
            try:
                urllib.request.urlopen(f"{self.public_url}/accounts/login/", timeout=10).close()
            except HTTPError as error:
                raise ProcessFailed(f"The sign-in page answers {error.code}:\n{process.tail()}") from None
            except (URLError, OSError):
                return False
            return True

        wait_until(answers, 30, what="the web server")
        return process

    def stop_processes(self, keep: Sequence[Process] = ()) -> None:
        """End all processes of the site that are not in `keep`: first asked, all together, then killed."""
        ending = [process for process in self.processes if process not in keep]
        for process in ending:
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)
        for process in ending:
            process.stop()
        self.processes = [process for process in self.processes if process in keep]

    # Looking into the databases.

    def query(self, alias: str, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run `sql` on the database called `alias` in the site's settings, and return the rows."""
        server, name = self.databases[alias]
        return server.query(name, sql, params)

    psql = query

    def value(self, alias: str, sql: str, params: Sequence[Any] | None = None) -> Any:
        """The first column of the first row; None if there is no row."""
        rows = self.query(alias, sql, params)
        return rows[0][0] if rows else None

    def prepared(self) -> list[tuple[str, str]]:
        """All prepared transactions on both servers, as (database, gid)."""
        return [*self.postgres.prepared(), *self.postgres2.prepared()]

    def wait_until(self, condition: Callable[[], T], timeout: float = 20, *, every: float = 0.1, what: str = "") -> T:
        """As `tests.services.wait_until`, and fails with the logs of all running processes."""
        try:
            return wait_until(condition, timeout, every=every, what=what)
        except TimeoutError as error:
            tails = "\n".join(f"--- {process!r}\n{process.tail(15)}" for process in self.processes)
            raise TimeoutError(f"{error}\n{tails}") from None
