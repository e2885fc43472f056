"""Promises that live in a worker process: the presence round, rule 5, and what is left in doubt, by example."""

from coordination.protocol.effects import AwaitHolders, Recover, Tell
from coordination.protocol.messages import StillHeld
from coordination.protocol.states import BatchState, BranchState, Kind, Outcome

from .protocol_cast import COMMIT, ROLLBACK, Driver, gid, held, item, resolved, votes, withdrawn


class TestPresenceRound:
    """What is held is asked for before COMMIT, because it can be lost without anybody's doing."""

    def prepared(self) -> Driver:
        batch = Driver(3)
        batch.hears(
            votes(item(1, kind=Kind.HELD), process="p1"), votes(item(2, kind=Kind.HELD), process="p2"), votes(item(3))
        )
        return batch

    def test_each_holder_is_asked_and_nothing_is_decided(self) -> None:
        batch = self.prepared()
        asked = {e.process: e.message for e in batch.told if isinstance(e, Tell)}
        assert asked == {
            "p1": StillHeld(batch=batch.core.batch, gids=(gid(1),)),
            "p2": StillHeld(batch=batch.core.batch, gids=(gid(2),)),
        }
        assert AwaitHolders() in batch.told
        assert batch.stores().decision is None

    def test_when_all_have_answered_it_commits(self) -> None:
        batch = self.prepared()
        batch.hears(held(gid(1), process="p1"))
        assert batch.core.decision is None
        batch.hears(held(gid(2), process="p2"))
        assert batch.stores().decision is COMMIT

    def test_silence_counts_as_withdrawn(self) -> None:
        batch = self.prepared()
        batch.hears(held(gid(1), process="p1"))
        batch.core.holders_silent()
        write = batch.stores()
        assert write.decision is ROLLBACK
        assert write.reason == "Worker process p2 no longer answers for what it holds"

    def test_what_a_holder_does_not_name_is_gone(self) -> None:
        batch = self.prepared()
        batch.hears(held(process="p1"))
        assert batch.stores().reason == "Task 1 of 3 is no longer held by its worker"

    def test_a_withdrawal_meanwhile_decides(self) -> None:
        batch = self.prepared()
        batch.hears(withdrawn(1))
        assert batch.stores().decision is ROLLBACK

    def test_the_deadline_waits_for_the_answers_when_nothing_else_is_missing(self) -> None:
        batch = self.prepared()
        batch.core.deadline_passed()
        batch.hears(held(gid(1), process="p1"), held(gid(2), process="p2"))
        assert batch.stores().decision is COMMIT

    def test_answers_after_the_decision_mean_nothing(self) -> None:
        batch = self.prepared()
        batch.core.holders_silent()
        batch.stores()
        batch.hears(held(gid(1), process="p1"), held(gid(2), process="p2"))
        assert batch.core.decision is ROLLBACK
        assert batch.core.next_write() is None


class TestRule5Withdrawn:
    """A withdrawal counts for the adopted gid, or while its branch has none."""

    def test_before_the_decision_it_is_a_rollback_vote(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1, kind=Kind.HELD)), withdrawn(1))
        write = batch.stores()
        assert (write.decision, write.reason) == (ROLLBACK, "Task 1 of 2 was lost: its connection was lost")

    def test_also_if_its_vote_has_not_come_yet(self) -> None:
        batch = Driver(2)
        batch.hears(withdrawn(1))
        assert batch.stores().decision is ROLLBACK
        assert batch.state(1) is BranchState.FAILED

    def test_of_another_attempt_it_is_noted_when_the_adoption_is_stored(self) -> None:
        batch = Driver(2)
        late = withdrawn(1, 2)
        batch.hears(votes(item(1, kind=Kind.HELD)), late)
        assert late not in batch.acknowledged
        assert batch.stores().decision is None
        assert late in batch.acknowledged

    def test_after_commit_it_is_a_contradiction_and_the_batch_is_mixed(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1, kind=Kind.HELD)), votes(item(2)), held(gid(1)))
        batch.stores()
        batch.hears(withdrawn(1), resolved(2))
        write = batch.stores()
        assert write.state is BatchState.MIXED
        assert batch.state(1) is BranchState.HEURISTIC_ROLLBACK
        assert any("Task 1 was rolled back against the decision" in entry for entry in write.entries)

    def test_after_rollback_it_is_what_was_wanted(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1, kind=Kind.HELD)), votes(item(2, vote=ROLLBACK)))
        batch.stores()
        batch.hears(withdrawn(1))
        assert batch.stores().state is BatchState.ROLLED_BACK

    def test_after_the_decision_for_a_branch_without_adopted_gid_it_means_nothing(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(2, vote=ROLLBACK)))
        batch.stores()
        late = withdrawn(1)
        batch.hears(late)
        assert late in batch.acknowledged
        assert batch.core.next_write() is None


class TestADeadHolder:
    """After the decision only proof tells what became of what a dead process held."""

    def committing(self) -> Driver:
        batch = Driver(1)
        batch.hears(votes(item(1, kind=Kind.HELD)), held(gid(1)))
        batch.stores()
        batch.told.clear()
        return batch

    def test_it_is_asked_of_its_process_first_and_then_of_any_agent(self) -> None:
        batch = self.committing()
        batch.core.repeat()
        batch.collect()
        assert [type(effect) for effect in batch.told] == [Tell]
        batch.core.repeat()
        batch.collect()
        assert [e.alias for e in batch.told if isinstance(e, Recover)] == ["ledger"]

    def test_silence_decides_nothing_and_an_unknown_fate_neither(self) -> None:
        batch = self.committing()
        batch.hears(resolved(1, outcome=Outcome.UNKNOWN))
        assert batch.core.next_write() is None
        assert batch.core.unfinished

    def test_the_proof_ends_it(self) -> None:
        batch = self.committing()
        batch.hears(resolved(1, outcome=Outcome.ROLLED_BACK))
        assert batch.stores().state is BatchState.MIXED
