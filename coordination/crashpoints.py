"""Named points of the protocol at which a process can be made to fail: for the crash drill and the tests.

Two variables of the environment arm them, for one process and its children; without them :func:`reach` is a look at
an empty dict.

``COORDINATION_CRASH_AT``: ``point=action``, several separated by commas; ``point#3=action`` strikes at the third time
that a process reaches the point. ``COORDINATION_CRASH_MARKS``: a folder. Each fault strikes once for all processes
that share it: whoever strikes makes the file ``point`` there, and leaves its process id in it.

Actions: ``kill`` (SIGKILL to itself), ``stop`` (SIGSTOP to itself; somebody else has to continue it), and ``wait``:
it stands still until there is a file ``point.go``, at most ``LONGEST_WAIT`` seconds, so that somebody else can do
meanwhile what no process can do to itself, such as cutting its connections.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from coordination.errors import CoordinationError

LONGEST_WAIT = 60.0


class Point(StrEnum):
    """Where a process can fail; each says what has been done and what has not."""

    # A node.
    CHUNK_SENT = "dispatch.sent"
    """Tasks are on the broker, and not stored as sent."""
    CHUNK_STORED = "dispatch.stored"
    """Some tasks are stored as sent, others may still have to be sent."""
    VOTES_STORED = "votes.stored"
    """Votes are stored, and not acknowledged."""
    DECIDING = "decision.before"
    """The decision is made, and not stored."""
    DECIDED = "decision.stored"
    """The decision is stored, and nobody has heard it."""
    TOLD_ONE = "decision.told"
    """One process has been told the decision, others perhaps not."""
    ENDING = "end.before"
    """Every task is finished, and the batch's end is not stored."""
    ENDED = "end.stored"
    """The batch's end is stored, and its queue still there."""
    # A worker process.
    STARTED = "task.started"
    """A task was said to start, and has done nothing."""
    PREPARING = "prepare.before"
    """A task's work is done, and not prepared."""
    PREPARED = "prepare.done"
    """A task's work is prepared, and nothing was said of it."""
    VOTED = "vote.given"
    """A vote is with the process's agent, and Celery does not know yet that the task has ended."""
    VOTE_LEAVING = "vote.leaving"
    """A vote is about to leave; Celery may know already that the task has ended."""
    VOTE_SENT = "vote.sent"
    """A vote is on the broker."""
    FINISHING = "finish.before"
    """The process has the decision, and has not carried it out."""
    FINISHING_HELD = "finish.held"
    """As before, with work that is held in this very process: it is lost with it."""
    FINISHED = "finish.done"
    """One task's work is committed or rolled back, and not reported."""


class CrashAtIsWrong(CoordinationError):
    """COORDINATION_CRASH_AT has {words!r}; write point=kill, point=stop or point=wait, with point one of {points}."""


class CrashMarksMissing(CoordinationError):
    """COORDINATION_CRASH_AT is set: set COORDINATION_CRASH_MARKS to an existing folder as well."""


@dataclass(frozen=True)
class _Fault:
    action: str
    at: int
    mark: Path


def parse(environment: Mapping[str, str]) -> dict[Point, _Fault]:
    """What ``environment`` arms. Raises CrashAtIsWrong, CrashMarksMissing."""
    faults: dict[Point, _Fault] = {}
    for words in filter(None, (part.strip() for part in environment.get("COORDINATION_CRASH_AT", "").split(","))):
        name, _, action = words.partition("=")
        name, _, at = name.partition("#")
        if name not in list(Point) or action not in ("kill", "stop", "wait") or not (at or "1").isdigit():
            raise CrashAtIsWrong(words=words, points=", ".join(Point))
        folder = environment.get("COORDINATION_CRASH_MARKS", "")
        if not Path(folder).is_dir() or not folder:
            raise CrashMarksMissing()
        faults[Point(name)] = _Fault(action, int(at or 1), Path(folder) / name)
    return faults


_armed = parse(os.environ)
_reached: Counter[Point] = Counter()
_lock = threading.Lock()


def reach(point: Point) -> None:
    """This process has come to ``point``: fail, if that is what it was armed for."""
    if not _armed or (fault := _armed.get(point)) is None:
        return
    with _lock:
        _reached[point] += 1
        if _reached[point] != fault.at:
            return
    try:
        with fault.mark.open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    if fault.action == "wait":
        go, until = fault.mark.with_name(f"{point}.go"), time.monotonic() + LONGEST_WAIT
        while not go.exists() and time.monotonic() < until:
            time.sleep(0.005)
        return
    os.kill(os.getpid(), signal.SIGKILL if fault.action == "kill" else signal.SIGSTOP)
