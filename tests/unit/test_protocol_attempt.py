"""The participant's half: when an execution may vote, and when it must say nothing, by example."""

import pytest

from coordination.protocol.attempt import (
    Attempt,
    Fate,
    LookUp,
    Prepare,
    Prepared,
    Run,
    Silent,
    Undo,
    VoteCommit,
    VoteRollback,
)
from coordination.protocol.messages import Failure

MINE, EARLIER = "mine", "earlier"
BROKEN = Failure(type="ZeroDivisionError", message="division by zero")
LOST = Failure(type="OperationalError", message="server closed the connection unexpectedly")


def running() -> Attempt:
    """An attempt whose body runs."""
    attempt = Attempt(MINE)
    assert attempt.begin(found=(), over=False) == Run()
    return attempt


def failed() -> Attempt:
    """An attempt whose body raised."""
    attempt = running()
    assert attempt.failed(BROKEN) == Undo()
    return attempt


class TestBeforeItRuns:
    """It asks what is prepared of its branch, so that work is not done twice."""

    def test_what_an_earlier_execution_prepared_is_voted_for(self) -> None:
        assert Attempt(MINE).begin(found=[EARLIER], over=False) == VoteCommit((EARLIER,), found=True)

    def test_also_when_its_batch_is_over_so_that_it_is_answered(self) -> None:
        assert Attempt(MINE).begin(found=[EARLIER], over=True) == VoteCommit((EARLIER,), found=True)

    def test_a_batch_that_is_over_needs_no_work(self) -> None:
        assert isinstance(Attempt(MINE).begin(found=(), over=True), Silent)


class TestAfterTheWork:
    """It prepares only what it will vote COMMIT for."""

    def test_work_is_prepared_and_then_voted_for(self) -> None:
        attempt = running()
        assert attempt.worked(wrote=True, over=False) == Prepare()
        assert attempt.prepared(Prepared.DONE) == VoteCommit((MINE,))

    def test_who_wrote_nothing_prepares_nothing(self) -> None:
        assert running().worked(wrote=False, over=False) == VoteCommit((MINE,), read_only=True)

    def test_a_batch_that_ended_meanwhile_gets_no_promise(self) -> None:
        attempt = running()
        assert attempt.worked(wrote=True, over=True) == Undo()
        assert isinstance(attempt.undone(()), Silent)


class TestFailure:
    """The work is undone first; then it asks again what is prepared, and only then votes."""

    def test_a_failed_body_votes_rollback(self) -> None:
        assert failed().undone(()) == VoteRollback(BROKEN)

    def test_unless_another_execution_is_prepared(self) -> None:
        assert failed().undone([EARLIER]) == VoteCommit((EARLIER,), found=True)

    def test_or_nobody_can_tell_whether_one_is(self) -> None:
        step = failed().undone(None)
        assert isinstance(step, Silent)
        assert "division by zero" in step.why

    def test_celerys_retry_is_not_a_vote(self) -> None:
        attempt = running()
        assert attempt.retried() == Undo()
        assert isinstance(attempt.undone(()), Silent)

    def test_a_retry_finds_what_was_prepared_meanwhile(self) -> None:
        attempt = running()
        attempt.retried()
        assert attempt.undone([EARLIER]) == VoteCommit((EARLIER,), found=True)


class TestPrepare:
    """After PREPARE it never rolls back by itself."""

    def preparing(self) -> Attempt:
        attempt = running()
        attempt.worked(wrote=True, over=False)
        return attempt

    def test_a_server_that_refuses_has_rolled_back(self) -> None:
        attempt = self.preparing()
        assert attempt.prepared(Prepared.REFUSED, BROKEN) == Undo()
        assert attempt.undone(()) == VoteRollback(BROKEN)

    def test_an_answer_that_was_lost_is_looked_up(self) -> None:
        assert self.preparing().prepared(Prepared.UNKNOWN, LOST) == LookUp()

    def test_found_prepared_it_is_voted_for(self) -> None:
        attempt = self.preparing()
        attempt.prepared(Prepared.UNKNOWN, LOST)
        assert attempt.looked_up(Fate.PREPARED) == VoteCommit((MINE,))

    def test_proved_undone_it_has_failed(self) -> None:
        attempt = self.preparing()
        attempt.prepared(Prepared.UNKNOWN, LOST)
        assert attempt.looked_up(Fate.UNDONE) == Undo()
        assert attempt.undone(()) == VoteRollback(LOST)

    def test_if_nobody_can_tell_it_says_nothing(self) -> None:
        attempt = self.preparing()
        attempt.prepared(Prepared.UNKNOWN, LOST)
        assert isinstance(attempt.looked_up(Fate.UNKNOWN), Silent)

    @pytest.mark.parametrize("result", [Prepared.REFUSED, Prepared.UNKNOWN])
    def test_a_driver_without_words_gets_some(self, result: Prepared) -> None:
        attempt = self.preparing()
        attempt.prepared(result)
        attempt.looked_up(Fate.UNDONE)
        step = attempt.undone(())
        assert isinstance(step, VoteRollback)
        assert step.failure.message
