"""How a batch is decided: rules 1 to 4 and 8 of the protocol, by example."""

import pytest

from coordination.protocol.effects import Dispatch, Ended, StepDown, Tell, TellAll
from coordination.protocol.messages import Decided, Stop
from coordination.protocol.states import BatchState, BranchState, Decision, Kind
from coordination.protocol.stored import WriteResult
from coordination.protocol.voting import MAX_STARTS

from .protocol_cast import (
    COMMIT,
    ROLLBACK,
    Driver,
    gid,
    item,
    started,
    token,
    votes,
)


class TestRule1OneDecision:
    """One decision per batch; COMMIT with all the adoptions it rests on, in one write."""

    def test_no_commit_before_the_last_branch_is_adopted(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1)))
        write = batch.stores()
        assert write.decision is None
        assert write.branches[1].gid == gid(1)

    def test_commit_is_stored_together_with_the_adoptions_not_yet_stored(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1)), votes(item(2)))
        write = batch.stores()
        assert write.decision is COMMIT
        assert {n: change.gid for n, change in write.branches.items()} == {1: gid(1), 2: gid(2)}
        assert write.state is BatchState.COMMITTING

    def test_what_arrives_while_the_decision_is_being_stored_waits_for_its_result(self) -> None:
        batch = Driver(1)
        batch.hears(votes(item(1)))
        batch.takes()
        late = votes(item(1, 2, vote=ROLLBACK))
        batch.hears(late, started(1, 3))
        batch.core.deadline_passed()
        batch.core.cancel(5, "Cancelled by ann")
        assert batch.told == []
        batch.ends()
        assert batch.core.decision is COMMIT
        assert late in batch.acknowledged
        assert batch.stores().requests == {5: "Too late: the batch had already decided COMMIT"}

    def test_a_write_that_touched_no_row_ends_this_manager(self) -> None:
        batch = Driver(1)
        batch.hears(votes(item(1)))
        batch.takes()
        batch.ends(WriteResult.UNTOUCHED)
        assert batch.told == [StepDown(reclaim=False, why="another node manages this batch")]
        assert batch.acknowledged == []

    def test_a_write_with_unknown_result_is_neither_believed_nor_denied(self) -> None:
        batch = Driver(1)
        batch.hears(votes(item(1)))
        batch.takes()
        batch.ends(WriteResult.UNKNOWN)
        assert batch.told == [StepDown(reclaim=True, why="the journal did not answer")]
        assert batch.core.next_write() is None

    def test_a_manager_that_stepped_down_says_nothing_more(self) -> None:
        """Deliveries may still come in before its driver has carried StepDown out."""
        batch = Driver(2)
        batch.hears(votes(item(1)))
        batch.stores()
        batch.hears(votes(item(2, vote=ROLLBACK)))
        batch.takes()
        batch.core.written(WriteResult.UNTOUCHED)
        again = votes(item(1))
        batch.hears(again)
        assert batch.acknowledged.count(again) == 1, "the first delivery's, before that"
        assert [type(effect) for effect in batch.told] == [StepDown]

    def test_a_verdict_is_written_although_there_is_nothing_else_to_write(self) -> None:
        batch = Driver(2)
        batch.core.deadline_passed()
        assert batch.core.writable
        assert batch.core.urgent
        assert batch.stores().decision is ROLLBACK

    def test_branches_that_wrote_nothing_are_finished_by_the_decision(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1, kind=Kind.READ_ONLY), item(2, kind=Kind.READ_ONLY)))
        write = batch.stores()
        assert write.state is BatchState.COMMITTED
        assert batch.told[-1] == Ended(state=BatchState.COMMITTED)
        assert batch.orders() == []


class TestRule2WriteAhead:
    """Nobody hears anything that is not stored."""

    def test_the_decision_is_announced_when_it_is_stored_and_not_before(self) -> None:
        batch = Driver(1)
        batch.hears(votes(item(1), process="p1"))
        batch.takes()
        batch.collect()
        assert batch.told == []
        batch.ends()
        decided, stop = batch.told
        assert isinstance(decided, Tell)
        assert decided.process == "p1"
        assert decided.message == Decided(batch=batch.core.batch, outcome=COMMIT, gids=(gid(1),))
        assert stop == TellAll(message=Stop(batch=batch.core.batch))

    def test_a_second_gid_is_refused_when_the_first_is_stored_and_not_before(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1)), votes(item(1, 2)))
        assert batch.orders() == []
        batch.stores()
        assert batch.orders() == [(gid(1, 2), ROLLBACK)]

    def test_a_second_gid_that_comes_while_the_first_is_being_stored_waits_for_that_write(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1)))
        batch.takes()
        batch.hears(votes(item(1, 2)))
        assert batch.orders() == []
        batch.ends()
        assert batch.orders() == [(gid(1, 2), ROLLBACK)]

    def test_tasks_are_dispatched_when_the_batch_is_stored_as_active(self) -> None:
        batch = Driver(2, state=BatchState.PENDING)
        batch.core.admit()
        batch.takes()
        batch.collect()
        assert batch.told == []
        batch.ends()
        assert batch.told == [Dispatch(branches=(1, 2), again=False)]


class TestRule3Adoption:
    """The first COMMIT vote for a branch adopts its gid; every other gid of that branch is refused."""

    def test_who_sends_a_vote_does_not_matter(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1), process="p1"), votes(item(1), process="sweep"))
        batch.stores()
        assert batch.orders() == []
        assert batch.core.ignored["vote again"] == 1

    def test_two_gids_from_one_process_are_two_gids(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1), process="p1"), votes(item(1, 2), process="p1"))
        batch.stores()
        assert batch.orders() == [(gid(1, 2), ROLLBACK)]

    def test_a_gid_that_covers_several_branches_is_adopted_for_all_of_them(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1, members=(1, 2))))
        write = batch.stores()
        assert write.decision is COMMIT
        assert batch.core.branches[1].gid == batch.core.branches[2].gid == gid(1)

    def test_or_for_none_of_them(self) -> None:
        batch = Driver(3)
        batch.hears(votes(item(2)), votes(item(1, members=(1, 2))))
        batch.stores()
        assert batch.core.branches[1].gid is None
        assert batch.orders() == [(gid(1), ROLLBACK)]

    def test_an_adopted_gid_is_never_refused_whichever_branches_a_later_vote_names(self) -> None:
        batch = Driver(3)
        batch.hears(votes(item(1)), votes(item(1, members=(1, 2))))
        batch.stores()
        assert batch.orders() == []

    def test_a_branch_named_twice_counts_once(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1, members=(1, 1))))
        assert batch.stores().decision is None

    def test_a_vote_for_a_branch_there_is_not_changes_nothing(self) -> None:
        batch = Driver(1)
        batch.hears(votes(item(9)), votes(item(1, members=(1, 9))))
        assert batch.core.next_write() is None
        assert len(batch.acknowledged) == 2


class TestRule4RollbackVotes:
    """A ROLLBACK vote decides, unless its branch has an adopted gid."""

    def test_it_decides_at_once_and_says_why(self) -> None:
        batch = Driver(3)
        batch.hears(started(1), started(2), votes(item(1)), votes(item(2, vote=ROLLBACK)))
        write = batch.stores()
        assert write.decision is ROLLBACK
        assert write.reason == "Task 2 of 3 failed: ZeroDivisionError: division by zero"
        assert write.state is BatchState.ROLLING_BACK
        assert [batch.state(n) for n in (1, 2, 3)] == [BranchState.PREPARED, BranchState.FAILED, BranchState.NOT_RUN]

    def test_it_is_ignored_for_a_branch_that_is_prepared(self) -> None:
        batch = Driver(2)
        failed = votes(item(1, 2, vote=ROLLBACK))
        batch.hears(votes(item(1)), failed)
        assert failed not in batch.acknowledged
        assert batch.stores().decision is None
        assert failed in batch.acknowledged

    def test_items_after_the_one_that_decides_wait_for_the_decision(self) -> None:
        batch = Driver(3)
        message = votes(item(1), item(2, vote=ROLLBACK), item(3))
        batch.hears(message)
        assert batch.acknowledged == []
        batch.stores()
        assert batch.orders() == [(gid(3), ROLLBACK)]
        assert batch.acknowledged == [message]

    @pytest.mark.parametrize("retries,decision", [((0, 0, 0), ROLLBACK), ((0, 1, 2), None)])
    def test_a_task_whose_worker_died_twice_is_not_started_a_third_time(
        self, retries: tuple[int, ...], decision: Decision | None
    ) -> None:
        assert MAX_STARTS == 3
        batch = Driver(2)
        for execution, retry in enumerate(retries, 1):
            batch.hears(started(1, execution, retries=retry))
        write = batch.stores()
        assert write.decision is decision
        assert set(write.attempts) == {(1, token(1, n)) for n in (1, 2, 3)}

    def test_a_start_that_is_heard_of_again_does_not_count(self) -> None:
        batch = Driver(2)
        batch.hears(started(1), started(1), started(1))
        assert batch.stores().decision is None


class TestRule8DeadlineAndCancel:
    """Before the decision they decide ROLLBACK; after it they change nothing."""

    def test_the_deadline_says_what_is_missing(self) -> None:
        batch = Driver(3)
        batch.hears(started(2), votes(item(1)))
        batch.core.deadline_passed()
        reason = batch.stores().reason
        assert reason == "Deadline passed with 1 of 3 tasks prepared; still running: 2; never started: 3"

    def test_the_deadline_changes_nothing_after_the_decision(self) -> None:
        batch = Driver(1)
        batch.hears(votes(item(1)))
        batch.stores()
        batch.core.deadline_passed()
        assert batch.core.next_write() is None

    def test_a_cancel_is_answered_in_the_write_that_carries_it_out(self) -> None:
        batch = Driver(2)
        batch.core.cancel(5, "Cancelled by ann")
        write = batch.stores()
        assert (write.decision, write.requests) == (ROLLBACK, {5: "Cancelled"})

    def test_a_cancel_before_dispatch_ends_the_batch(self) -> None:
        batch = Driver(2, state=BatchState.PENDING)
        batch.core.admit()
        batch.core.cancel(5, "Cancelled by ann")
        assert batch.stores().state is BatchState.ROLLED_BACK
        assert not any(isinstance(effect, Dispatch) for effect in batch.told)

    def test_a_batch_that_can_never_fit_is_refused_before_any_task_ran(self) -> None:
        batch = Driver(2, state=BatchState.PENDING)
        batch.core.refuse("It needs 2 slots on crm, which has 1")
        write = batch.stores()
        assert (write.state, write.reason) == (BatchState.ROLLED_BACK, "It needs 2 slots on crm, which has 1")
        assert [batch.state(n) for n in (1, 2)] == [BranchState.NOT_RUN] * 2

    def test_a_restored_journal_may_hear_of_gids_before_it_dispatched_anything(self) -> None:
        """Then there is something to undo."""
        batch = Driver(2, state=BatchState.PENDING)
        batch.hears(votes(item(1)))
        batch.core.refuse("It waited too long")
        assert batch.stores().state is BatchState.ROLLING_BACK
        assert batch.messages() == [Decided(batch=batch.core.batch, outcome=ROLLBACK, gids=())]

    def test_or_of_all_of_them(self) -> None:
        batch = Driver(2, state=BatchState.PENDING)
        batch.hears(votes(item(1), item(2)))
        batch.core.admit()
        assert batch.stores().state is BatchState.ACTIVE
        assert not any(isinstance(effect, Dispatch) for effect in batch.told)
        assert batch.stores().decision is COMMIT
