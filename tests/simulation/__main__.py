"""``python -m tests.simulation``: run schedules by seed, one with its whole trace or a million with progress."""

import argparse
import sys
import time
from multiprocessing import Pool

from .mutants import MUTANTS, caught
from .world import Violation, World


def judge(seed: int) -> tuple[int, str | None]:
    """Run one seed: what it violated, or None."""
    try:
        World(seed).run()
    except Violation as violation:
        return seed, str(violation)
    except Exception as error:
        return seed, f"{type(error).__name__}: {error}"
    return seed, None


def show(seed: int) -> int:
    """Run one seed and print every step."""
    world = World(seed, tracing=True)
    try:
        world.run()
    finally:
        print("\n".join(world.trace))
    print(f"seed {seed}: {world.journal.state} after {world.steps} steps")
    return 0


def show_mutants(schedules: int) -> int:
    """Run each mutant until it is caught, and say how many schedules that took."""
    missed = 0
    for name, parts in MUTANTS.items():
        found = caught(parts, schedules)
        missed += found is None
        print(f"{name:28s} {f'{found[0]:6d}  {str(found[1])[:110]}' if found else 'NOT CAUGHT'}")
    return missed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the seed, or the first one of --schedules")
    parser.add_argument("--schedules", type=int, default=0, help="how many seeds to run, from --seed on")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="print the trace of --seed")
    parser.add_argument("--mutants", action="store_true", help="show how soon each broken product is caught")
    options = parser.parse_args()
    if options.mutants:
        return show_mutants(options.schedules or 10_000)
    if options.verbose or not options.schedules:
        return show(options.seed)
    started, bad = time.monotonic(), 0
    with Pool(options.processes) as pool:
        seeds = range(options.seed, options.seed + options.schedules)
        for done, (seed, problem) in enumerate(pool.imap_unordered(judge, seeds, chunksize=100), 1):
            if problem is not None:
                bad += 1
                print(f"seed {seed}: {problem}", flush=True)
            if done % 10_000 == 0:
                rate = done / (time.monotonic() - started)
                print(f"{done:,} schedules, {bad} violations, {rate:,.0f} a second", file=sys.stderr, flush=True)
    seconds = time.monotonic() - started
    print(f"{options.schedules:,} schedules in {seconds:.1f} s, {bad} violations")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
