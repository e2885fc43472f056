"""One trial: a fault at a point, a batch that is to commit and one that is to fail, and what became of both."""

import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from coordination.crashpoints import Point
from coordination.drill.crew import Crew, Member, MemberDidNotStart
from coordination.drill.scratch import Scratch, forget
from coordination.models import Batch
from coordination.protocol.states import BatchState

CUT_SECONDS = 2.0
LOOK_SECONDS = 0.05
REACH_SECONDS = 60.0
"""How long a batch may take to come to the point."""


class Fault(StrEnum):
    """What happens at the point."""

    KILL = "kill"
    """kill -9 of the process, which is then started again."""
    CUT = "cut"
    """The process's way to the broker is cut, and mended after two seconds."""
    SESSION = "session"
    """The process's database sessions are terminated: a node's with the journal, a worker's with the databases."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a trial went. ``seconds`` from the fault until nothing was open, prepared or queued any more."""

    point: Point
    fault: Fault
    outcome: str
    """How the batch ended that was to commit, in words; some faults roll it back, as a whole."""
    seconds: float | None
    problems: list[str]

    @property
    def passed(self) -> bool:
        """Whether everything was as promised."""
        return not self.problems


@dataclass(frozen=True)
class Trials:
    """Runs trials, one after the other. ``timeout``: seconds after the fault within which all must be over."""

    crew: Crew
    scratch: Scratch
    timeout: float

    def run(self, point: Point, fault: Fault) -> Result:
        """Carry one out. A batch that went well is forgotten, any other stays in the journal."""
        try:
            return self._run(point, fault)
        except (MemberDidNotStart, DatabaseError) as error:
            connections.close_all()
            problem = " ".join(str(error).split())
            return Result(point=point, fault=fault, outcome="broken off", seconds=None, problems=[problem])

    def _run(self, point: Point, fault: Fault) -> Result:
        marks = self.crew.folder / f"{point}-{fault}"
        marks.mkdir()
        member = self.crew.of(point)
        for each in (self.crew.node, self.crew.worker):
            if each is not member and not each.alive:
                each.start()
        member.start(f"{point}={'kill' if fault is Fault.KILL else 'wait'}", marks)
        good = self.scratch.launch(f"{fault} at {point}", fails=False)
        if not self._reached(marks / point, good):
            return Result(point=point, fault=fault, outcome="not reached", seconds=None, problems=[
                f"nothing of the drill came to {point} within {REACH_SECONDS:g} s"
                " (another node or worker may have taken its batches)"
            ])  # fmt: skip
        # The first one is struck; this one comes upon what is failing.
        bad = self.scratch.launch(f"{fault} at {point}, with a task that fails", fails=True)
        began = time.monotonic()
        problems = self._strike(fault, member, marks / point)
        left = self._settled([good, bad], began)
        seconds = time.monotonic() - began
        if left:
            problems.append(f"after {seconds:.0f} s {left}")
            return Result(point=point, fault=fault, outcome="not over", seconds=None, problems=problems)
        problems += [*self.scratch.problems(good, fails=False), *self.scratch.problems(bad, fails=True)]
        state, reason = Batch.objects.values_list("state", "reason").get(pk=good)
        outcome = "committed" if state == BatchState.COMMITTED else f"{state.replace('_', ' ').lower()} ({reason})"
        if not problems:
            forget([good, bad])
        return Result(point=point, fault=fault, outcome=outcome, seconds=seconds, problems=problems)

    def _reached(self, mark: Path, batch: uuid.UUID) -> bool:
        until = time.monotonic() + REACH_SECONDS
        while time.monotonic() < until:
            if mark.exists():
                return True
            if Batch.objects.filter(pk=batch, queue_deleted=True).exists():
                return mark.exists()
            time.sleep(LOOK_SECONDS)
        return False

    def _strike(self, fault: Fault, member: Member, mark: Path) -> list[str]:
        go = mark.with_name(f"{mark.name}.go")
        match fault:
            case Fault.KILL:
                member.start()
            case Fault.CUT:
                self.crew.cut()
                go.touch()
                time.sleep(CUT_SECONDS)
                self.crew.mend()
            case Fault.SESSION:
                aliases = [DEFAULT_DB_ALIAS] if member.role == "node" else self.scratch.aliases
                ended = sum(_terminate(alias, member.session) for alias in aliases)
                go.touch()
                if not ended:
                    return [f"no database session called {member.session} was there to be terminated"]
        return []

    def _settled(self, batches: list[uuid.UUID], began: float) -> str:
        """Wait until nothing of them is left; what still is when the time is over."""
        while (left := self.scratch.left(batches)) and time.monotonic() - began < self.timeout:
            time.sleep(LOOK_SECONDS)
        return left


def _terminate(alias: str, session: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            [session],
        )
        return int(cursor.fetchone()[0])
