"""The product under ten thousand schedules of everything that can go wrong, and the proof that the judge would see."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from .mutants import MUTANTS, caught
from .mutants.outcome import OutcomeOnly
from .world import World

ROOT = Path(__file__).parents[2]
SCHEDULES = 10_000
FIRST_SEED = 20_000_000
"""Of the product's run; the mutants' seeds count from 0."""
MUTANT_SCHEDULES = 10_000
HARMFUL = [
    "VotesCountedBySender", "DecidesWithoutLastAdoptions", "AdoptsForSome", "AnnouncesBeforeStored",
    "BelievesHoldersBlindly", "AcknowledgesWithNoRowTouched", "NoEpochNoGuard", "AnswersStraysOfOpenBatches",
    "StraysCommitWhateverIsAsked", "MissingReadAsCommitted", "CommitsAllItHolds", "RollsBackOnStop",
    "ReturnedVoteRollsBack", "SweepsByAge", "VotesOnUnknownFate", "VotesCommitForUndone",
]  # fmt: skip
"""Mutants that leave a batch half applied, or a branch applied twice, within that many schedules."""


@pytest.mark.timeout(300)
def test_the_product_keeps_every_rule() -> None:
    """A violation names its seed; ``python -m tests.simulation --seed N --verbose`` shows how it came about."""
    command = [sys.executable, "-m", "tests.simulation", "--schedules", str(SCHEDULES), "--seed", str(FIRST_SEED)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str) -> None:
    """With this one rule broken, some schedule breaks what must hold."""
    assert caught(MUTANTS[name], MUTANT_SCHEDULES), f"{name} was not caught in {MUTANT_SCHEDULES:,} schedules"


@pytest.mark.parametrize("name", HARMFUL)
def test_its_harm_is_seen_in_the_outcome(name: str) -> None:
    """Without looking at any step: in the databases and the journal, after everything is over."""
    parts = replace(MUTANTS[name], checks=OutcomeOnly)
    assert caught(parts, MUTANT_SCHEDULES), f"{name} did no harm in {MUTANT_SCHEDULES:,} schedules"


def test_a_seed_is_one_schedule() -> None:
    """The same seed does the same things in the same order."""
    traces = []
    for _ in range(2):
        world = World(4711, tracing=True)
        world.run()
        traces.append(world.trace)
    assert traces[0] == traces[1]
    assert len(traces[0]) > 20


def test_schedules_go_deep() -> None:
    """What is searched is worth searching: all outcomes, takeovers, several executions of a branch, pruning."""
    seen: dict[str, int] = {}
    for seed in range(400):
        world = World(seed)
        world.run()
        epoch, executions = world.journal.epoch, len(world.databases.all) / len(world.journal.rows)
        facts = {
            str(world.journal.state): True,
            "taken over": epoch > 1,
            "taken over twice": epoch > 2,
            "run more than once": executions > 1,
            "pruned": world.journal.pruned,
            "decided by the deadline": world.journal.reason.startswith("Deadline"),
        }
        for fact, holds in facts.items():
            seen[fact] = seen.get(fact, 0) + holds
    assert all(count >= 4 for count in seen.values()), seen
    assert {"COMMITTED", "ROLLED_BACK", "MIXED"} <= seen.keys()
