"""A process of the site that launches batches for tests: starting `manage.py` for each takes longer than most batches.

It runs `launch_batch` with the arguments that it reads, one JSON list on a line, and writes what the command printed.
"""

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from tests.services.site import Site


class Launcher:
    """The process, started at the first launch. It ends with the test run."""

    def __init__(self, site: Site, env: Mapping[str, str]) -> None:
        self._site, self._env = site, env
        self._popen: subprocess.Popen[str] | None = None

    def launch(self, customer: str, plan: str, **params: object) -> str:
        """Launch a batch as `launch_batch --no-wait` does; its id. Raises AssertionError with the command's words."""
        if self._popen is None:
            self._popen = self._site.piped([sys.executable, "-m", "tests.services.launcher"], self._env)
        assert self._popen.stdin is not None and self._popen.stdout is not None
        given = [f"--param={name}={value}" for name, value in params.items()]
        self._popen.stdin.write(json.dumps([customer, plan, "--no-wait", "--json", *given]) + "\n")
        self._popen.stdin.flush()
        answer = json.loads(self._popen.stdout.readline() or '{"error": "The launcher has ended"}')
        assert "id" in answer, answer
        return str(answer["id"])


_launchers: "WeakKeyDictionary[Site, Launcher]" = WeakKeyDictionary()


def of(site: Site, env: Mapping[str, str]) -> Launcher:
    """The launcher of `site`; `env` is added to the site's when it is made."""
    return _launchers.setdefault(site, Launcher(site, env))


def serve() -> None:
    """Launch what is asked for until nobody asks any more."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    for line in sys.stdin:
        said = io.StringIO()
        try:
            call_command("launch_batch", *json.loads(line), stdout=said)
            answer = {"id": json.loads(said.getvalue())["id"]}
        except (Exception, SystemExit) as error:
            answer = {"error": f"{error!r} {said.getvalue()}"}
        # As each command does: servers are stopped and started between two launches.
        connections.close_all()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
