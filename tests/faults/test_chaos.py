"""A short run of chaos, and that its checker can fail."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.chaos.checker import in_another_order
from tests.chaos.growth import grown
from tests.chaos.plan import LONG, SECONDS, Kind, draw
from tests.conftest import SITE

SEED = 289
"""Its plans have batches whose last task fails when others are prepared, and faults that kill."""


def _chaos(*args: object, timeout: float) -> "subprocess.CompletedProcess[str]":
    """A run in a process of its own, with servers of its own."""
    return SITE.run([sys.executable, "-m", "tests.chaos", *map(str, args)], timeout=timeout)


def test_the_same_seed_draws_the_same_run() -> None:
    assert draw(3, 60, every=4) == draw(3, 60, every=4)
    assert draw(3, 60, every=4) != draw(4, 60, every=4)


def test_ten_minutes_draw_every_kind_of_fault() -> None:
    for seed in range(50):
        struck = Counter(fault.kind for fault in draw(seed, 600, every=4).faults)
        assert min(struck[kind] for kind in SECONDS) >= 3, seed


def test_a_soak_has_faults_of_a_minute_as_well() -> None:
    faults = draw(3, 900, every=10, spare_first=True).faults
    assert [(fault.kind, fault.which) for fault in faults if fault.seconds == 60] == list(LONG)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)


def test_what_grows_is_told_from_what_only_swings() -> None:
    climbing, swinging = [60.0 + n for n in range(80)], [60.0 + n % 9 for n in range(80)]
    found = grown({"node 1: MB": climbing, "web: MB": swinging, "worker 1: files": [20.0] * 80})
    assert [words.partition(" grew")[0] for words in found] == ["node 1: MB"]
    assert grown({"web: MB": [1.0, 2.0]}) == ["web: MB: only 2 samples, which says nothing"]


def test_a_database_that_lacks_a_batch_is_reported_as_one_that_has_them_in_another_order() -> None:
    assert in_another_order({"one": ["a", "b"], "other": ["a", "b"]}) == in_another_order({}) == []
    for other in (["a"], ["a", "c"], ["a", "c", "b"]):
        (words,) = in_another_order({"one": ["a", "b"], "other": other})
        assert "from place 2 on" in words


@pytest.mark.timeout(170)
def test_a_short_run_has_no_violation() -> None:
    """Row 42. A short form of it; the hour is `make soak SECONDS=3600`."""
    drawn = draw(SEED, 10, every=2)
    assert {Kind.KILL_NODE, Kind.KILL_WORKER, Kind.KILL_DATABASE} <= {fault.kind for fault in drawn.faults}
    assert any(batch.plan == "load" and batch.fail_at == batch.tasks > 6 for batch in drawn.batches)
    done = _chaos("--seconds", 10, "--seed", SEED, "--every", 2, "--settle", 60, timeout=150)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert f"Seed {SEED}: no violation" in done.stdout


@pytest.mark.timeout(110)
def test_the_checker_reports_a_participant_that_commits_at_once() -> None:
    """Without any fault: tasks of batches that rolled back have left their rows."""
    assert any(batch.fail_at > 2 for batch in draw(SEED, 4, every=60, launches=0.3).batches)
    options = ("--seconds", 4, "--seed", SEED, "--every", 60, "--launches", 0.3, "--settle", 5)
    done = _chaos(*options, "--defect", "commits_at_once", timeout=100)
    print(done.stdout, done.stderr)
    assert done.returncode == 1
    assert "are not 0" in done.stdout
