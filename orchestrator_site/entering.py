"""Entering the home: what `manage.py` does around a command where no services are configured.

A command that needs a database finds the home's PostgreSQL running and, from the first time on, with its tables and the
demo's customers. Leaving, the last one out stops it.
"""

import io
import os
import signal
import sys
from collections.abc import Callable

from orchestrator_site import environment
from orchestrator_site.home import Home, home_in
from orchestrator_site.postgresql import HomeError

WITHOUT_DATABASE = {
    "help", "version", "collectstatic", "compilemessages", "findstatic", "makemessages", "startapp", "startproject",
}  # fmt: skip
"""Of Django's commands, those that touch no database."""
PREPARE_THEMSELVES = {"demo", "migrate"}
HOSTED_ELSEWHERE = {"runmanager", "runworker", "runserver"}
"""Commands of services mode, each of which would be one process of several."""


def run(argv: list[str], execute: Callable[[list[str]], None]) -> int | str | None:
    """Run `execute(argv)`, in the home if the command needs it; what to give to `sys.exit`."""
    command = argv[1] if len(argv) > 1 else "help"
    surroundings = environment.read()
    if not surroundings.embedded or command in WITHOUT_DATABASE or {"-h", "--help", "--version"} & set(argv):
        execute(argv)
        return 0
    if command in HOSTED_ELSEWHERE:
        say(
            f"Without services there is no {command}: one process does everything. Run manage.py demo, or set "
            "AMQP_URL, DATABASE_URL and REDIS_URL."
        )
        return 2
    home = home_in(surroundings.home)
    # A command that is told to end leaves by the same way as at Ctrl-C, and so stops the server.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    code: int | str | None = 0
    try:
        home.open(say)
        if command not in PREPARE_THEMSELVES:
            prepare(home, always=False)
        execute(argv)
    except SystemExit as ended:
        code = ended.code
    except HomeError as error:
        say(str(error))
        code = 1
    except KeyboardInterrupt:
        say("Interrupted")
        code = 130
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        home.close()
    if home.has_hosted:
        # Python would wait for tasks that still run, and are of no use to anybody: their connections are gone.
        if isinstance(code, str):
            say(code)
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
    return code


def prepare(home: Home, *, always: bool) -> None:
    """Make the tables and the demo's customers and people, if that was not done yet; with `always`, what is missing.

    Raises what Django raises.
    """
    with home.preparing(always=always) as wanted:
        if not wanted:
            return
        import django

        django.setup()
        from django.conf import settings
        from django.core.management import call_command
        from django.db import connections

        if not home.is_prepared:
            say("Making the tables and the demo's customers …")
        for alias in settings.DATABASES:
            call_command("migrate", database=alias, verbosity=0, interactive=False)
        if "demo" in settings.COORDINATION_APPS:
            os.environ["DEMO_PASSWORD"] = home.demo_password
            call_command("demo_data", stdout=io.StringIO())
        connections.close_all()


def say(line: str) -> None:
    """Tell whoever started the process what it is at."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
