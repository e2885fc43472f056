"""Batches in which a task misbehaves, from the launch to the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.batches import APPS, attempts, ended, field, nothing_left, rows, start
from tests.services import Site


@pytest.fixture(scope="module")
def running(whole_site: Site) -> Iterator[Site]:
    """A node, and a worker whose tasks wait one second for a lock."""
    whole_site.demo_data()
    settings = {"DJANGO_SETTINGS_MODULE": "tests.integration.participant.odd.settings"}
    with whole_site.node(), whole_site.worker("prefork", 2, env={**APPS, **settings}):
        yield whole_site


@pytest.mark.parametrize(
    ("how", "words"),
    [
        pytest.param("swallows", "division by zero", id="a database error its author caught"),
        pytest.param("commits", "must not end or begin", id="a COMMIT by the task"),
        pytest.param("siblings", "must not touch the same rows", id="two tasks on one row"),
    ],
)
def test_it_rolls_back_and_says_why(running: Site, tmp_path: Path, how: str, words: str) -> None:
    """Rows 18, 44, 45."""
    batch = start(running, "odd", how=how, path=tmp_path / "runs")
    assert ended(running, batch) == "ROLLED_BACK"
    reason = field(running, batch, "reason")
    assert words in reason
    if how == "siblings":
        assert "held by task" in reason
    assert rows(running, batch) == 0
    nothing_left(running, batch)


def test_retry_is_not_a_vote(running: Site, tmp_path: Path) -> None:
    batch = start(running, "odd", how="unsteady", path=tmp_path / "runs")
    assert ended(running, batch) == "COMMITTED"
    assert len((tmp_path / "runs").read_text()) == 3
    # A start is not waited for: one that another process says in its own time may come after the decision.
    assert attempts(running, batch) in ({1: 1, 2: 1, 3: 3}, {1: 1, 2: 1, 3: 2})
    assert rows(running, batch) == 3
    nothing_left(running, batch)
