"""Our batch against bare Celery groups and a hand-written chord, on real RabbitMQ and PostgreSQL.

Same worker command, pool (prefork), concurrency and prefetch in all; the kinds take turns, so that what else the
machine does hits them alike. A round before the first is run and thrown away.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

from bench import failing, many, runs, services
from tests.services import Site

BARS = {"a/b": {100: 0.6, 1000: 0.6}, "a/b'": {100: 1.4, 1000: 1.25, 10000: 1.3}, "a/c": {100: 0.5, 1000: 0.5}}
KINDS = {
    "a": "our batch, launch() to the last branch committed",
    "b": "bare group, a connection for each task",
    "b'": "bare group, kept connections",
    "c": "2PC by hand on a chord, Redis results",
    "a+results": "(a) with django-celery-results",
}


def measure(site: Site, tasks: int, rounds: int, kinds: Sequence[str]) -> None:
    """Run `kinds` in turns, and print what came out."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    phases: list[dict[str, float]] = []
    for number in range(rounds + 1):
        order = list(kinds)
        order = order[number % len(order) :] + order[: number % len(order)]
        for kind in order:
            took = one(site, kind, tasks, phases if number else [])
            if number:
                times[kind].append(took)
            time.sleep(0.3)  # what a run leaves to do is not the next one's
    report(tasks, times, phases)


def one(site: Site, kind: str, tasks: int, phases: list[dict[str, float]]) -> float:
    """Seconds that one run of `kind` took; the phases of (a) are added to `phases`."""
    if kind == "a":
        took, found = runs.batch(site, tasks)
        phases.append(found)
        return took
    if kind == "a+results":
        return runs.with_results(site, tasks)[0]
    return {"b": runs.bare_group, "b'": runs.kept_group, "c": runs.by_hand}[kind](site, tasks)


def report(tasks: int, times: dict[str, list[float]], phases: list[dict[str, float]]) -> None:
    """Raw runs, medians, ratios and phases."""
    print(f"\n{tasks:,} tasks of 10 rows")
    median = {kind: statistics.median(found) for kind, found in times.items()}
    for kind, found in times.items():
        raw = "  ".join(f"{took * 1000:7.0f}" for took in found)
        print(f"  {kind:10} {median[kind] * 1000:7.0f} ms  {tasks / median[kind]:6.0f} tasks/s   runs: {raw}")
    for other in [kind for kind in times if kind != "a"]:
        name, bar = f"a/{other}", BARS.get(f"a/{other}", {}).get(tasks)
        ratio = median["a"] / median[other]
        each = sorted(a / b for a, b in zip(times["a"], times[other], strict=True))
        verdict = "no bar" if bar is None else f"at most {bar}: {'yes' if ratio <= bar else 'NO'}"
        rounds = f"by round {each[0]:.2f} to {each[-1]:.2f}, median {statistics.median(each):.2f}"
        print(f"  {name:12} {ratio:5.2f}   {rounds}   {verdict}")
    tail = statistics.median((p["last finished"] - p["decided"]) * 1000 for p in phases)
    verdict = f"   at most 25: {'yes' if tail <= 25 else 'NO'}" if tasks == 100 else ""
    print(f"  decision → last branch finished {tail:.1f} ms{verdict}")
    where(tasks, phases)


def where(tasks: int, phases: list[dict[str, float]]) -> None:
    """Where the time of (a) goes: medians, then each run. The phases follow one another but overlap within."""

    def line(name: str, values: list[float], unit: str = "ms") -> None:
        print(f"    {name:44} {statistics.median(values):8.1f} {unit}   {'  '.join(f'{v:7.1f}' for v in values)}")

    def between(first: str, second: str) -> list[float]:
        return [(p[second] - p.get(first, 0)) * 1000 for p in phases]

    print(
        "  where the time of (a) goes (the journal's times are when a thing was stored, up to 0.2 s after it happened):"
    )
    line("launch: recorded", between("", "launch returned"))
    line("dispatch: claimed and admitted", between("launch returned", "dispatched"))
    line("dispatch, queue: first task stored as started", between("dispatched", "first started"))
    line("queue, work, prepare: last task stored started", between("first started", "last started"))
    line("vote: decision stored after that", between("last started", "decided"))
    line("finish: first task, after the decision", between("decided", "first finished"))
    line("finish: last task, after the decision", between("decided", "last finished"))
    for name in ("work", "prepare"):
        line(f"{name}: a task", [p[f"{name}, all tasks"] * 1000 / tasks for p in phases])
    busy = [(p["work, all tasks"] + p["prepare, all tasks"]) / services.CONCURRENCY for p in phases]
    line(
        "work and prepare: of launch → decision",
        [b / p["decided"] * 100 for b, p in zip(busy, phases, strict=True)],
        "% ",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sizes", default="100,1000", help="numbers of tasks (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each (default: %(default)s)")
    parser.add_argument("--large", action="store_true", help="10,000 tasks as well: takes many minutes")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which to run, (a) always (default: %(default)s)")
    parser.add_argument("--many", action="store_true", help="instead: 200 batches of 50 tasks at once on one node")
    parser.add_argument("--failing", action="store_true", help="instead: 2,000 tasks of which number 50 fails")
    options = parser.parse_args(arguments)
    if options.many:
        with services.running(0, queues=[services.PLAIN]) as site:
            many.run(site)
        return
    if options.failing:
        with services.running(failing.TASKS, queues=[services.PLAIN]) as site:
            failing.run(site, options.rounds)
        return
    kinds = [kind for kind in KINDS if kind == "a" or kind in options.kinds.split(",")]
    sizes = [int(size) for size in options.sizes.split(",") if size] + [10_000] * options.large
    for kind in kinds:
        print(f"  {kind:10} {KINDS[kind]}")
    with services.running(max(sizes)) as site:
        print(f"prefork, concurrency {services.CONCURRENCY}, prefetch multiplier {services.PREFETCH}, fsync on")
        for tasks in sizes:
            measure(site, tasks, options.rounds, kinds)


if __name__ == "__main__":
    main()
