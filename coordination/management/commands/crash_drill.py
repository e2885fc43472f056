"""``manage.py crash_drill``: before going live, let everything fail at each point of the protocol, and see it hold."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from coordination import conf
from coordination.bus import address
from coordination.crashpoints import Point
from coordination.drill.crew import POINTS, Crew, crew
from coordination.drill.scratch import SLUG, scratch
from coordination.drill.tasks import TABLE
from coordination.drill.trial import Fault, Result, Trials
from coordination.management.base import Command as OurCommand
from coordination.management.base import Exit, Failed, length_of_time
from coordination.models import Batch, Node
from coordination.resources import registry

EXITS = """\
At each point of the protocol three things are tried, each with a batch that is to commit and one of which a task fails:

  kill      kill -9 of the node or worker that has come to the point, which is then started again
  cut       its way to the broker is cut, and mended after two seconds
  session   its database sessions are terminated: a node's with the journal, a worker's with the databases

A trial has passed if each of the two batches is there as a whole or not at all, in every database, as the journal says,
and nothing is prepared, open or queued any more. (Some faults roll the first one back. That is no failure.)

exit codes:
  0   every trial has passed
  1   one has failed, or could not be carried out; its batches stay in the journal, and the logs where the command says
  2   the drill was not begun
"""

FAILED = Exit(1)
"""What it means here is said above."""
_SECONDS = timedelta(seconds=5)
"""A node heard of so recently runs."""


class Command(OurCommand):
    """Runs the drill with a node and a worker of its own."""

    help = (
        "Kill a node or worker, cut its way to the broker, or terminate its database sessions, at each point of the "
        "protocol, on the services and databases that are configured here, and check that batches stay whole."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, epilog=EXITS, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--databases", metavar="ALIAS,…", help="Where to (default: all that can prepare).")
        parser.add_argument("--points", metavar="POINT,…", help=f"At which points (default: all): {', '.join(POINTS)}.")
        parser.add_argument("--faults", metavar="FAULT,…", help=f"Which faults (default: all): {', '.join(Fault)}.")
        parser.add_argument(
            "--timeout", type=length_of_time, metavar="90s", help="A trial not over so long after its fault has failed."
        )
        parser.add_argument("--no-input", action="store_true", help="Do not ask before beginning.")
        parser.add_argument("--anyway", action="store_true", help="Begin although batches are open or nodes run.")
        parser.add_argument("--json", action="store_true", help="Print the results as one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        points = [Point(name) for name in _chosen(options["points"], POINTS, "point")]
        faults = [Fault(name) for name in _chosen(options["faults"], list(Fault), "fault")]
        aliases = _chosen(options["databases"], registry.aliases(), "database that can prepare")
        _may_begin(anyway=options["anyway"])
        if not options["no_input"]:
            _ask(aliases)
        timeout = options["timeout"].total_seconds() if options["timeout"] else 90.0
        began, results = time.monotonic(), []
        with scratch(aliases) as place, crew(place.queue) as ours:
            for result in _trials(Trials(ours, place, timeout), ours, points, faults):
                results.append(result)
                _progress(result)
        self._print(results, aliases, time.monotonic() - began, as_json=options["json"])
        failed = [result for result in results if not result.passed]
        if failed or not results:
            raise Failed(
                FAILED,
                f"{len(failed)} of {len(results)} trials failed; the logs of node and worker are in {ours.folder}",
            )
        shutil.rmtree(ours.folder, ignore_errors=True)

    def _print(self, results: Sequence[Result], aliases: Sequence[str], seconds: float, *, as_json: bool) -> None:
        if as_json:
            trials = [
                {
                    "point": result.point, "fault": result.fault, "passed": result.passed, "outcome": result.outcome,
                    "seconds": None if result.seconds is None else round(result.seconds, 2),
                    "problems": result.problems,
                }
                for result in results
            ]  # fmt: skip
            passed = bool(results) and all(result.passed for result in results)
            self.stdout.write(json.dumps({"passed": passed, "databases": list(aliases), "trials": trials}))
            return
        faults = list(dict.fromkeys(result.fault for result in results))
        self.stdout.write(f"{'':18}" + "".join(f"{fault:26}" for fault in faults))
        for point in dict.fromkeys(result.point for result in results):
            cells = {result.fault: _cell(result) for result in results if result.point is point}
            self.stdout.write(f"{point:18}" + "".join(f"{cells.get(fault, '-'):26}" for fault in faults))
        took = [result.seconds for result in results if result.seconds is not None]
        worst = f"; longest recovery {max(took):.1f} s" if took else ""
        self.stdout.write(f"{len(results)} trials in {seconds:.0f} s on {', '.join(aliases)}{worst}")


def _trials(trials: Trials, ours: Crew, points: Sequence[Point], faults: Sequence[Fault]) -> Iterator[Result]:
    if Fault.CUT in faults and not ours.can_be_cut:
        sys.stderr.write("The way to the broker is not cut: over TLS no relay can be put into it.\n")
    for point in points:
        for fault in faults:
            if fault is not Fault.CUT or ours.can_be_cut:
                yield trials.run(point, fault)


def _chosen(words: str | None, known: Sequence[str], what: str) -> list[str]:
    """Those of ``known`` that ``words`` names, all without. Raises Failed for what is not known, and for none."""
    chosen = [word.strip() for word in words.split(",") if word.strip()] if words else list(known)
    wrong = [word for word in chosen if word not in known]
    if wrong or not chosen:
        there = ", ".join(known) or "none: name one in COORDINATION_DATABASES"
        raise Failed(Exit.WRONG_REQUEST, f"There is no {what} {', '.join(wrong)}; there are: {there}.")
    return chosen


def _may_begin(*, anyway: bool) -> None:
    if conf.host() or address.is_local(conf.broker_url()):
        raise Failed(
            Exit.WRONG_REQUEST,
            "Here everything runs in one process, so no node or worker can fail by itself: the drill is for an "
            "installation with services (README, Services).",
        )
    if anyway:
        return
    batches = Batch.objects.open().count()
    if batches:
        raise Failed(
            Exit.WRONG_REQUEST,
            f"{batches} batches are open, and the drill's node would manage them too, and be killed: wait for their "
            "end (or say --anyway).",
        )
    nodes = Node.objects.filter(heartbeat__gt=Now() - _SECONDS).count()
    if nodes:
        raise Failed(
            Exit.WRONG_REQUEST,
            f"{nodes} nodes run and would manage the drill's batches: stop them, or nothing is tried of what is to "
            "fail (or say --anyway).",
        )


def _ask(aliases: Sequence[str]) -> None:
    sys.stderr.write(
        f"The crash drill makes a table {TABLE} in {', '.join(aliases)} and a customer {SLUG} in the journal, and "
        "removes both at its end. It kills its own node and worker again and again, and terminates their database "
        "sessions; it touches no others. Begin? [y/N] "
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failed(Exit.WRONG_REQUEST, "Not begun")


def _progress(result: Result) -> None:
    seconds = "" if result.seconds is None else f", {result.seconds:.1f} s"
    verdict = "pass" if result.passed else "FAIL"
    sys.stderr.write(f"{result.fault} at {result.point}: {verdict}: {result.outcome}{seconds}\n")
    for problem in result.problems:
        sys.stderr.write(f"  {problem}\n")
    sys.stderr.flush()


def _cell(result: Result) -> str:
    seconds = "" if result.seconds is None else f", {result.seconds:.1f} s"
    return f"{'pass' if result.passed else 'FAIL'}: {result.outcome.partition(' (')[0]}{seconds}"
