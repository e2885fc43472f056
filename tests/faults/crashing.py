"""Arming a process's crash points (``coordination.crashpoints``), and seeing that they struck."""

import os
from pathlib import Path

from coordination.crashpoints import Point
from tests.services import MissingProgram, Process, Site


class Crash:
    """Faults whose marks are in one folder: each strikes once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def at(self, *faults: str) -> dict[str, str]:
        """The environment that arms a process: ``at("decision.before=kill", "dispatch.sent#2=wait")``."""
        return {"COORDINATION_CRASH_AT": ",".join(faults), "COORDINATION_CRASH_MARKS": str(self._folder)}

    def struck(self, site: Site, point: Point, timeout: float = 60) -> float:
        """Wait until a process has come to ``point``; when that was, in seconds since 1970."""
        mark = self._folder / point
        site.wait_until(mark.exists, timeout, every=0.01, what=f"a process at {point}")
        return mark.stat().st_mtime

    def go(self, point: Point) -> None:
        """Let the process that waits at ``point`` go on."""
        (self._folder / f"{point}.go").touch()


def killed(site: Site, process: Process, crash: Crash, point: Point) -> None:
    """Wait until ``process`` has killed itself at ``point``; its lease is forgotten, so that no test waits for that."""
    crash.struck(site, point)
    assert process.wait(10) == -9
    site.query("default", "DELETE FROM coordination_node WHERE name LIKE %s", [f"%-{process.pid}-%"])


def name_of(site: Site, process: Process) -> str:
    """The name under which this node manages."""
    sql = "SELECT name FROM coordination_node WHERE name LIKE %s"
    return str(site.wait_until(lambda: site.value("default", sql, [f"%-{process.pid}-%"]), 10, what="the node's name"))


def wrong_clock(offset: str) -> dict[str, str]:
    """The environment of a process whose wall clock is wrong by ``offset`` (``+3600``, in seconds)."""
    library = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")
    if not library.exists():
        raise MissingProgram("libfaketime is not installed. As root on Debian: apt-get install libfaketime.")
    return {"LD_PRELOAD": str(library), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
