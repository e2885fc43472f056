"""``manage.py demo``: everything in one process, with nothing installed but this project's requirements."""

import errno
import os
import socket
import sys
import time
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand

from orchestrator_site import embedded, entering
from orchestrator_site.home import Home

FAILED, CANNOT_START = 1, 2


class Command(BaseCommand):
    """Runs the embedded stack until it is told to stop."""

    help = (
        "Run the whole product in this process: web pages, manager, worker, and a PostgreSQL of its own, which keeps "
        "its data in ORCHESTRATOR_HOME (default: var). PORT says where (default 8000). Exits 0 when it was stopped "
        "(Ctrl-C, SIGTERM), 1 when something failed, 2 when it cannot start: the port is taken, or it already runs."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped. Ends the process with the exit code if it was not asked to stop."""
        home: Home | None = settings.HOME
        if home is None:
            _end(
                CANNOT_START,
                "Services are configured (AMQP_URL, DATABASE_URL, REDIS_URL). The demo runs without any: unset them.",
            )
        port: int = settings.ENVIRONMENT.port
        url: str = settings.PUBLIC_URL
        self._become_host(home, url)
        _check_port(port)
        entering.prepare(home, always=True)
        entering.say("Starting …")
        failure = embedded.serve(port, lambda: self._say_where(home, url))
        if failure:
            _end(FAILED, failure)
        entering.say("Stopped.")

    def _become_host(self, home: Home, url: str) -> None:
        said = False
        while not home.host(url):
            host = home.the_host()
            if host.get("url"):
                _end(
                    CANNOT_START,
                    f"It already runs: {host['url']} (process {host['pid']}, data in {home.folder}). For a second "
                    "one set ORCHESTRATOR_HOME to another folder and PORT to another number.",
                )
            if host and not said:
                entering.say(f"Process {host['pid']} is running a batch in {home.folder}; waiting for its end …")
                said = True
            time.sleep(0.2)

    def _say_where(self, home: Home, url: str) -> None:
        self.stdout.write(
            f"\n  {url}\n\n"
            f"  Sign in as acme_operator (runs Acme's batches) or admin (sees everything),\n"
            f"  password {home.demo_password}\n\n"
            f"  Data are kept in {home.folder}\n"
            f"  Ctrl-C stops everything.\n"
        )
        self.stdout.flush()


def _check_port(port: int) -> None:
    """End here, naming the way out, if something listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = "is taken by another program" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
            other = port + 1 if port < 65535 else port - 1
            _end(CANNOT_START, f"Port {port} {why}. Choose another: make demo PORT={other}")


def _end(code: int, why: str) -> NoReturn:
    entering.say(why)
    sys.exit(code)
