"""What a screen says of a batch as a whole: phase, since when, what is left, what to do."""

from datetime import UTC, datetime, timedelta

import pytest

from coordination.live import standing
from coordination.live.why import Facts
from coordination.protocol.states import BatchState, BranchState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def facts(state: str, queue: str = "", waiting_for: str = "", **counts: int) -> Facts:
    known = {BranchState(name): count for name, count in counts.items()}
    return Facts(state=BatchState(state), tasks=3, counts=known, queue=queue, waiting_for=waiting_for)


@pytest.mark.parametrize(
    "given, phase",
    [
        (facts("PENDING", PENDING=3), "prepare"),
        (facts("ACTIVE", PREPARED=2, RUNNING=1), "prepare"),
        (facts("ACTIVE", PREPARED=3), "decide"),
        (facts("COMMITTING", PREPARED=1, COMMITTED=2), "finish"),
        (facts("ROLLING_BACK", PREPARED=1), "finish"),
        (facts("COMMITTED", COMMITTED=3), "done"),
        (facts("MIXED", LOST=1), "done"),
    ],
)
def test_phase(given: Facts, phase: str) -> None:
    assert standing.phase(given) == phase


def test_since_is_when_its_state_was_entered() -> None:
    names = ("created", "dispatched", "decided", "ended")
    moments = {name: NOON + timedelta(minutes=n) for n, name in enumerate(names)}
    times = standing.Times(**moments)
    wanted = {"PENDING": "created", "ACTIVE": "dispatched", "COMMITTING": "decided", "ROLLED_BACK": "ended"}
    for state, name in wanted.items():
        assert standing.since(BatchState(state), times) == moments[name], state
    assert standing.since(BatchState.ACTIVE, standing.Times(created=NOON)) == NOON


def test_left_behind_names_databases_until_the_end() -> None:
    assert standing.left_behind(facts("ROLLING_BACK", PREPARED=3), [("crm", 1), ("ledger", 2)]) == (
        "Still to be finished: 1 task on database crm, 2 tasks on database ledger."
    )
    assert standing.left_behind(facts("ROLLED_BACK", ROLLED_BACK=3), []) == "Nothing is left behind."
    mixed = facts("MIXED", LOST=1, HEURISTIC_COMMIT=1)
    assert standing.left_behind(mixed, [], [4, 7]).startswith("Tasks 4, 7 did not end as decided")
    assert standing.left_behind(mixed, [], [4]).startswith("Tasks 4 and 1 more did not")
    assert "seen by nobody before the decision" in standing.left_behind(facts("ACTIVE", RUNNING=3), [])


@pytest.mark.parametrize(
    "given, heard, words",
    [
        (facts("PENDING"), False, "No manager is heard of"),
        (facts("PENDING", waiting_for="300 slots"), True, "starts by itself"),
        (facts("ACTIVE", PENDING=3, queue="acme"), True, "a worker listens on queue acme"),
        (facts("ACTIVE", RUNNING=3), True, "decided by 12:00:00 UTC at the latest"),
        (facts("ACTIVE", RUNNING=3), False, "No manager is heard of"),
        (facts("COMMITTING", PREPARED=3), False, "No manager is heard of"),
        (facts("COMMITTING", PREPARED=3), True, "until it has answered"),
        (facts("COMMITTED"), False, "Nothing: all of it is in place."),
        (facts("ROLLED_BACK", FAILED=1), False, "Mend what the error says"),
        (facts("ROLLED_BACK", NOT_RUN=3), False, "what stood in the way"),
        (facts("MIXED", LOST=1), False, "Look at each task marked"),
    ],
)
def test_what_to_do_now(given: Facts, heard: bool, words: str) -> None:
    assert words in standing.to_do(given, standing.Times(created=NOON, deadline=NOON), heard)
