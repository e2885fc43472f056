"""Real worker processes against a stand-in for the manager: what they say, and what they do when told."""

import time
from collections.abc import Iterator

import pytest

from coordination.protocol.states import Decision, Outcome
from tests.integration.participant.looking import prepared, rows
from tests.integration.participant.standin import Manager
from tests.services import Process, Site

WRITE = "demo.tasks.write_entries"
HARMLESS = {"rows": 10, "fail_at": 0, "seconds": 0}


@pytest.fixture(scope="module", params=["prefork", "threads"])
def worker(request: pytest.FixtureRequest, whole_site: Site) -> Iterator[Process]:
    """A worker with two slots, of each pool."""
    with whole_site.worker(request.param, 2) as process:
        yield process


def test_a_hundred_tasks_vote_and_are_committed(worker: Process, site: Site, manager: Manager) -> None:
    """Invisible until the decision, then all there, and the slots were free in between."""
    for number in range(1, 101):
        manager.send(WRITE, number, number=number, alias="demo_ledger", **HARMLESS)
    manager.wait(lambda: len(manager.votes) == 100)
    votes = manager.votes
    assert {vote.vote for vote in votes} == {Decision.COMMIT}
    assert len(prepared(site, manager)) == 100
    assert rows(site, manager) == 0
    assert len(manager.attempts) == 100
    evidence = votes[0].evidence
    assert evidence is not None and evidence["rows"] == 10
    print("work_ms, prepare_ms of the last:", votes[-1].evidence)
    began = time.perf_counter()
    manager.decide(Decision.COMMIT, votes)
    manager.wait(lambda: len(manager.ends) == 100)
    print(f"decision to the last of 100 reports: {(time.perf_counter() - began) * 1000:.1f} ms")
    assert {end.outcome for end in manager.ends.values()} == {Outcome.COMMITTED}
    assert prepared(site, manager) == []
    assert rows(site, manager) == 1000
