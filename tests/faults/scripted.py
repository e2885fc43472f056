"""Launching batches of plan ``scripted`` from the test's own process (fixture ``orm``), and arming crash points."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from coordination import plans
from coordination.api import launch as launch_batch
from tests.faults.trouble.plans import Scripted
from tests.services import Site

APPS = {"COORDINATION_APPS": "demo,tests.integration.participant.odd,tests.integration.oddities,tests.faults.trouble"}
SHORT_LOCKS = {**APPS, "DJANGO_SETTINGS_MODULE": "tests.integration.participant.odd.settings"}
"""For a worker whose tasks wait one second for a lock."""


def launch(*script: list[Any], customer: str = "acme", seconds: float = 900) -> str:
    """Launch a batch of these tasks, ``[task, database, arguments…]`` each, and return its id. It has so many seconds.

    A command would take a second for it. The app of these tasks is not among those of this process: put its plan there.
    """
    plans._find_plans()["scripted"] = Scripted
    plain = [[str(part) if isinstance(part, Path) else part for part in task] for task in script]
    return str(launch_batch(customer, Scripted, {"script": plain}, deadline=timedelta(seconds=seconds)).id)


def demo(customer: str = "acme", **params: Any) -> str:
    """Launch a batch of the demo's plan."""
    return str(launch_batch(customer, "demo", {"rows": 10, "seconds": 0, "fail_at": 0, **params}).id)


class Crash:
    """Arms crash points in whoever is started with ``env``."""

    def __init__(self, marks: Path, at: str) -> None:
        """``marks`` is a folder of this test's; ``at`` as in COORDINATION_CRASH_AT."""
        self._marks, self._point = marks, at.partition(",")[0].partition("=")[0].partition("#")[0]
        self.env = {"COORDINATION_CRASH_AT": at, "COORDINATION_CRASH_MARKS": str(marks)}

    def struck(self, site: Site, timeout: float = 40) -> int:
        """Wait until the first point was reached; the id of the process that did."""
        mark = self._marks / self._point
        return int(site.wait_until(lambda: mark.exists() and mark.read_text(), timeout, what=f"{mark.name} to be hit"))

    def go_on(self) -> None:
        """Let whoever waits at the first point go on."""
        (self._marks / f"{self._point}.go").touch()

    def kill(self, site: Site) -> None:
        """Kill the process that has reached the first point."""
        os.kill(self.struck(site), signal.SIGKILL)
