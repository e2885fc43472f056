"""Taking over, losing the queue or a process, strays, and cleaning up, by example."""

from typing import Any

import pytest

from coordination.protocol.coordinator import Coordinator
from coordination.protocol.effects import CHUNK, Dispatch, Ended, Tell, TellAll
from coordination.protocol.journal_rules import (
    CLEANUP,
    TAKEOVER,
    PutBack,
    StrayFacts,
    answer_stray,
    must_clean_up,
    repeat_delay,
)
from coordination.protocol.messages import Decided, Inquire, Order, OrderItem, Stop
from coordination.protocol.states import BatchState, BranchState, Decision, Kind
from coordination.protocol.stored import Snapshot, StoredAttempt, StoredBranch

from .protocol_cast import BATCH, COMMIT, ROLLBACK, Driver, gid, held, item, resolved, started, token, votes, withdrawn


def row(number: int, **values: Any) -> StoredBranch:
    """A branch as the journal has it."""
    return StoredBranch(number=number, alias="ledger", **values)


def adopted(number: int, state: BranchState = BranchState.PREPARED, kind: Kind = Kind.TWO_PHASE) -> StoredBranch:
    """A branch with an adopted gid."""
    return row(number, state=state, sent=True, gid=gid(number), kind=kind, proof="701", process="p1")


class TestTakeover:
    """Raise the epoch, then read; then consume, ask, wait, and dispatch again what nobody knows of."""

    def test_the_order_of_the_steps(self) -> None:
        assert [str(step) for step in TAKEOVER] == [
            "raise_epoch", "read_journal", "consume", "resume", "wait_for_answers", "redispatch",
        ]  # fmt: skip

    def test_of_an_open_batch_everybody_is_asked_what_they_hold(self) -> None:
        batch = Driver([adopted(1), row(2, state=BranchState.RUNNING, sent=True, process="p2")])
        batch.core.resume()
        batch.collect()
        assert batch.told == [TellAll(message=Inquire(batch=BATCH))]

    def test_of_a_batch_that_waits_to_be_admitted_nobody_is(self) -> None:
        batch = Driver(2, state=BatchState.PENDING)
        batch.core.resume()
        batch.core.redispatch()
        batch.collect()
        assert batch.told == []

    def test_all_adopted_and_not_decided_commits_without_another_vote(self) -> None:
        batch = Driver([adopted(1), adopted(2)])
        batch.core.resume()
        assert batch.stores().decision is COMMIT

    def test_what_is_held_is_asked_for_first(self) -> None:
        batch = Driver([adopted(1, kind=Kind.HELD), adopted(2)])
        batch.core.resume()
        assert not batch.core.writable
        batch.hears(held(gid(1)))
        assert batch.stores().decision is COMMIT

    @pytest.mark.parametrize("decision,state", [(COMMIT, BatchState.COMMITTING), (ROLLBACK, BatchState.ROLLING_BACK)])
    def test_a_decision_is_announced_again(self, decision: Decision, state: BatchState) -> None:
        batch = Driver([adopted(1), adopted(2)], state=state, decision=decision)
        batch.core.resume()
        batch.collect()
        names = (gid(1), gid(2)) if decision is COMMIT else ()
        assert batch.told == [
            Tell(process="p1", message=Decided(batch=BATCH, outcome=decision, gids=names)),
            TellAll(message=Stop(batch=BATCH)),
        ]

    def test_decided_with_all_finished_it_ends(self) -> None:
        rows = [adopted(1, BranchState.COMMITTED), adopted(2, BranchState.COMMITTED)]
        batch = Driver(rows, state=BatchState.COMMITTING, decision=COMMIT)
        batch.core.resume()
        assert batch.stores().state is BatchState.COMMITTED

    def test_a_contradiction_stored_before_makes_it_mixed(self) -> None:
        rows = [adopted(1, BranchState.HEURISTIC_ROLLBACK), adopted(2)]
        batch = Driver(rows, state=BatchState.COMMITTING, decision=COMMIT)
        batch.hears(resolved(2))
        assert batch.stores().state is BatchState.MIXED

    def test_a_batch_that_is_over_is_only_cleaned_up(self) -> None:
        batch = Driver([adopted(1, BranchState.COMMITTED)], state=BatchState.COMMITTED, decision=COMMIT)
        batch.core.resume()
        batch.collect()
        assert batch.told == [Ended(state=BatchState.COMMITTED)]

    def test_starts_before_the_takeover_count(self) -> None:
        attempts = tuple(StoredAttempt(branch=1, token=token(1, n), retries=0) for n in (1, 2))
        snapshot = Snapshot(
            batch=BATCH, state=BatchState.ACTIVE, decision=None, branches=(row(1), row(2)), attempts=attempts
        )  # fmt: skip
        batch = Driver(2)
        batch.core = Coordinator(snapshot)
        batch.hears(started(1, 2))
        assert batch.core.next_write() is None, "it is known, and stored"
        batch.hears(started(1, 3))
        assert batch.stores().decision is ROLLBACK


class TestDispatchingAgain:
    """What is neither started nor stored as sent; after a broker wipe all that is not started."""

    ROWS = (
        row(1),
        row(2, sent=True),
        row(3, state=BranchState.RUNNING, sent=True, process="p1"),
        row(4, state=BranchState.RUNNING, sent=True),
        adopted(5),
    )

    @pytest.mark.parametrize("wiped,branches", [(False, (1, 4)), (True, (1, 2, 4))])
    def test_what_goes_out_again(self, wiped: bool, branches: tuple[int, ...]) -> None:
        """Branch 4 ran in a process that was found gone, and the takeover may have come before it was sent again."""
        batch = Driver(self.ROWS)
        batch.core.redispatch(wiped=wiped)
        batch.collect()
        assert batch.told == [Dispatch(branches=branches, again=True)]

    def test_nothing_after_the_decision(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1, vote=ROLLBACK)))
        batch.stores()
        batch.told.clear()
        batch.core.redispatch(wiped=True)
        batch.collect()
        assert batch.told == []

    def test_what_was_sent_is_stored_per_chunk(self) -> None:
        batch = Driver([row(n) for n in range(1, CHUNK + 2)])
        batch.core.redispatch()
        batch.collect()
        chunks = [effect.branches for effect in batch.told if isinstance(effect, Dispatch)]
        assert [len(chunk) for chunk in chunks] == [CHUNK, 1]
        batch.core.sent(chunks[1])
        assert list(batch.stores().branches) == [CHUNK + 1]

    def test_a_process_that_is_gone(self) -> None:
        batch = Driver(3)
        batch.hears(started(1, process="p1"), started(2, process="p2"), votes(item(3), process="p1"))
        assert batch.core.running_on() == {"p1", "p2"}
        batch.core.process_gone("p1")
        batch.collect()
        assert batch.told == [Dispatch(branches=(1,), again=True)]
        assert batch.core.running_on() == {"p2"}

    def test_its_branch_runs_elsewhere_and_a_vote_of_the_dead_still_counts(self) -> None:
        batch = Driver(2)
        batch.hears(started(1, process="p1"))
        batch.core.process_gone("p1")
        batch.hears(started(1, 2, process="p2"), votes(item(1), process="sweep"))
        batch.stores()
        assert batch.core.branches[1].gid == gid(1)
        batch.hears(votes(item(1, 2), process="p2"))
        assert batch.orders() == [(gid(1, 2), ROLLBACK)]


class TestStrays:
    """A vote whose batch queue is gone is answered from the journal, or put back if the batch is open."""

    def test_of_an_open_batch_everything_is_put_back(self) -> None:
        for facts in (StrayFacts(known=True), StrayFacts(known=True, decision=COMMIT)):
            for message in (votes(item(1)), started(1), withdrawn(1), resolved(1), held(gid(1))):
                assert answer_stray(message, facts) == PutBack()

    def test_of_a_batch_that_is_over_each_vote_is_answered_for_its_gid(self) -> None:
        facts = StrayFacts(known=True, decision=COMMIT, ended=True, adopted={gid(1): True})
        (tell,) = answer_stray(votes(item(1), item(1, 2), item(2), process="p9"), facts)
        assert tell.process == "p9"
        assert isinstance(tell.message, Order)
        assert [(i.gid, i.outcome) for i in tell.message.items] == [
            (gid(1), COMMIT), (gid(1, 2), ROLLBACK), (gid(2), ROLLBACK),
        ]  # fmt: skip

    def test_an_unknown_batch_is_rolled_back(self) -> None:
        (tell,) = answer_stray(votes(item(1)), StrayFacts(known=False))
        order = OrderItem(gid=gid(1), outcome=ROLLBACK, alias="ledger", proof="701")
        assert tell.message == Order(batch=BATCH, items=(order,))

    def test_a_task_that_starts_is_told_to_stop(self) -> None:
        for facts in (StrayFacts(known=False), StrayFacts(known=True, decision=ROLLBACK, ended=True)):
            assert answer_stray(started(1, process="p9"), facts) == (Tell(process="p9", message=Stop(batch=BATCH)),)

    def test_what_else_is_said_of_it_needs_no_answer(self) -> None:
        facts = StrayFacts(known=True, decision=ROLLBACK, ended=True)
        messages = (
            withdrawn(1), resolved(1), held(gid(1)), votes(item(1, vote=ROLLBACK)), votes(item(1, kind=Kind.READ_ONLY)),
        )  # fmt: skip
        assert [answer_stray(message, facts) for message in messages] == [()] * 5


class TestCleaningUp:
    """The queue goes when the end is stored, and whoever declares it later cleans up after that."""

    def test_the_order_of_the_steps(self) -> None:
        assert [str(step) for step in CLEANUP] == ["read_as_strays", "delete_queue", "store_deleted", "delete_again"]

    def test_who_declared_a_queue_that_nobody_will_read_cleans_it_up(self) -> None:
        assert must_clean_up(StrayFacts(known=False))
        assert must_clean_up(StrayFacts(known=True, decision=COMMIT, ended=True))
        assert not must_clean_up(StrayFacts(known=True))
        assert not must_clean_up(StrayFacts(known=True, decision=COMMIT))


def test_what_is_not_finished_is_said_again_with_growing_pauses() -> None:
    delays = [repeat_delay(n) for n in range(12)]
    assert delays[0] == 1.5
    assert delays == sorted(delays)
    assert delays[-1] == 30.0
