"""A batch's timeline: how many tasks were in which state when, and what their time went into."""

from datetime import UTC, datetime, timedelta

import pytest

from coordination.models import Batch, Branch
from coordination.protocol.states import BatchState, BranchState
from coordination.web.timeline import BINS, Timeline, timeline
from tests.unit.test_web import client_of, make

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
B = BranchState


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def put(batch: Batch, number: int, state: BranchState, *times: float | None) -> None:
    """Task ``number`` is in ``state``; ``times`` are when it was started, prepared and finished, in seconds."""
    moments = [None if time is None else at(time) for time in (*times, None, None, None)[:3]]
    Branch.objects.filter(batch=batch, number=number).update(
        state=state, started=moments[0], prepared=moments[1], finished=moments[2]
    )


@pytest.fixture
def batch() -> Batch:
    """Rolled back after a minute: a column of its timeline is a second."""
    made = make("acme", tasks=5)
    Batch.objects.filter(pk=made.pk).update(
        state=BatchState.ROLLED_BACK, decision="ROLLBACK", dispatched=START, decided=at(30), ended=at(60)
    )
    put(made, 1, B.ROLLED_BACK, 2, 12, 59.5)
    put(made, 2, B.ROLLED_BACK, 4, 24, 40.5)
    put(made, 3, B.FAILED, 10, None, 30)
    put(made, 4, B.ROLLED_BACK, 28, None, 30)  # undone before it voted
    put(made, 5, B.NOT_RUN, None, None, 30)
    made.refresh_from_db()
    return made


def counts_after(drawn: Timeline, second: float) -> dict[BranchState, int]:
    row = [row for row in drawn.rows if row.after <= timedelta(seconds=second)][-1]
    states = [area.state for area in drawn.areas]
    return {state: count for state, count in zip(states, row.counts, strict=True) if count}


def drawn_of(batch: Batch) -> Timeline:
    drawn = timeline(batch)
    assert drawn is not None
    return drawn


def test_how_many_tasks_were_in_which_state(batch: Batch) -> None:
    drawn = drawn_of(batch)
    assert (drawn.start, drawn.end, drawn.bin) == (START, at(60), timedelta(seconds=1))
    assert (drawn.decided_at, drawn.decided_after) == (30, timedelta(seconds=30))
    assert counts_after(drawn, 1) == {B.PENDING: 5}
    assert counts_after(drawn, 3) == {B.PENDING: 4, B.RUNNING: 1}
    assert counts_after(drawn, 13) == {B.PENDING: 2, B.RUNNING: 2, B.PREPARED: 1}
    assert counts_after(drawn, 29) == {B.PENDING: 1, B.RUNNING: 2, B.PREPARED: 2}
    assert counts_after(drawn, 31) == {B.PREPARED: 2, B.FAILED: 1, B.ROLLED_BACK: 1, B.NOT_RUN: 1}
    assert counts_after(drawn, 60) == {B.ROLLED_BACK: 3, B.FAILED: 1, B.NOT_RUN: 1}
    assert all(sum(row.counts) == 5 for row in drawn.rows)
    assert len(drawn.rows) == 10  # the first, and each column in which something happened


def test_areas_lie_on_each_other_and_fill_the_picture(batch: Batch) -> None:
    areas = drawn_of(batch).areas
    assert [area.state for area in areas] == [B.ROLLED_BACK, B.FAILED, B.PREPARED, B.RUNNING, B.NOT_RUN, B.PENDING]
    lowest, highest = areas[0].path, areas[-1].path
    assert lowest.endswith(f"V5H{BINS - 1}V5H{BINS - 2}" + "".join(f"V5H{n}" for n in range(BINS - 3, -1, -1)) + "Z")
    assert highest.startswith("M0 0V0H1V0H2") and highest.count("V0") >= BINS


def test_what_their_time_went_into(batch: Batch) -> None:
    queued, working, waiting, resolving = drawn_of(batch).stages
    assert [stage.tasks for stage in (queued, working, waiting, resolving)] == [4, 3, 2, 2]
    assert (queued.half, queued.longest) == (timedelta(seconds=7), timedelta(seconds=28))
    assert (working.half, working.longest) == (timedelta(seconds=20), timedelta(seconds=20))
    assert (waiting.half, waiting.longest) == (timedelta(seconds=12), timedelta(seconds=18))
    assert (resolving.half, resolving.longest) == (timedelta(seconds=20), timedelta(seconds=29.5))
    assert resolving.width == 100 and 0 < waiting.width < working.width < 100


def test_one_that_runs_ends_now_and_has_no_decision(batch: Batch) -> None:
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.ACTIVE, decision=None, decided=None, ended=None)
    put(batch, 1, B.PREPARED, 2, 12)
    put(batch, 2, B.RUNNING, 4)
    for number in (3, 4, 5):
        put(batch, number, B.PENDING)
    batch.refresh_from_db()
    drawn = drawn_of(batch)
    assert drawn.decided_at is None and drawn.decided_after is None and drawn.end > at(60)
    assert counts_after(drawn, 10**9) == {B.PENDING: 3, B.RUNNING: 1, B.PREPARED: 1}
    assert [stage.tasks for stage in drawn.stages] == [2, 1, 0, 0]
    assert drawn.stages[2].longest is None and drawn.stages[2].width == 0


@pytest.mark.parametrize(
    "ended, words", [(None, "none of its tasks has been sent"), (at(1), "It ended before any of its tasks was sent")]
)
def test_before_the_dispatch_there_is_none(batch: Batch, ended: datetime | None, words: str) -> None:
    Batch.objects.filter(pk=batch.pk).update(dispatched=None, decided=None, ended=ended)
    batch.refresh_from_db()
    assert timeline(batch) is None
    assert words in client_of("viewer", batch).get(f"/c/acme/b/{batch.pk}/?tab=timeline").content.decode()


def test_the_page_draws_it_and_says_it_in_figures(batch: Batch) -> None:
    page = client_of("viewer", batch).get(f"/c/acme/b/{batch.pk}/?tab=timeline").content.decode()
    assert f'viewBox="0 0 {BINS} 5"' in page and '<path data-state="FAILED" d="M0 ' in page
    assert "1.0 s a column; the line is the decision, after 30.0 s." in page
    assert '<line x1="30.0" x2="30.0" y1="0" y2="5"/>' in page
    assert "Waiting for the decision" in page and "29.5 s" in page
