"""``python -m tests.chaos --seconds 60 --seed 7``: exits 1 on a violation, after saying what to look at."""

import argparse
import random
import sys

from tests.chaos import defects
from tests.chaos.plan import draw
from tests.chaos.run import SETTLE_SECONDS, run
from tests.chaos.soak import soak


def main() -> int:
    """Read the command line, run, and print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long batches are launched and faults strike")
    parser.add_argument("--seed", type=int, help="what is drawn; without it a random one, which is printed")
    parser.add_argument("--every", type=float, help="about so many seconds between two faults; else 4, or 10")
    parser.add_argument("--launches", type=float, default=2, help="about so many seconds between two launches")
    parser.add_argument("--settle", type=float, default=SETTLE_SECONDS, help="seconds until nothing may be in doubt")
    parser.add_argument("--defect", choices=defects.NAMES, default="", help="one rule that every process breaks")
    parser.add_argument("--soak", action="store_true", help="watch what grows; the first node and worker are spared")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    every = options.every or (10.0 if options.soak else 4.0)
    campaign = draw(seed, options.seconds, every=every, launches=options.launches, spare_first=options.soak)
    if options.soak:
        violations = soak(campaign, settle=options.settle)
    else:
        violations = run(campaign, defect=options.defect, settle=options.settle)
    verdict = f"{len(violations)} violations" if violations else "no violation"
    target = "soak" if options.soak else "chaos"
    print(f"Seed {seed}: {verdict}. The same plan again: make {target} SECONDS={options.seconds:g} SEED={seed}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
