"""After the decision: rules 6, 7 and 9 of the protocol, by example."""

from coordination.protocol.effects import CHUNK, Ended, Recover, Tell, TellAll
from coordination.protocol.messages import Decided, Order, Stop, Votes
from coordination.protocol.states import BatchState, BranchState, Kind, Outcome
from coordination.protocol.stored import StoredBranch, WriteResult

from .protocol_cast import BATCH, COMMIT, ROLLBACK, Driver, gid, item, resolved, started, votes


def committing(branches: int = 2) -> Driver:
    """A batch that has just decided COMMIT."""
    batch = Driver(branches)
    batch.hears(*(votes(item(n)) for n in range(1, branches + 1)))
    batch.stores()
    batch.told.clear()
    return batch


def rolling_back() -> Driver:
    """A batch of three: 1 prepared, 2 failed, 3 never started."""
    batch = Driver(3)
    batch.hears(votes(item(1)), votes(item(2, vote=ROLLBACK)))
    batch.stores()
    batch.told.clear()
    return batch


class TestRule6VotesAfterTheDecision:
    """They are answered from the journal, each for its gid."""

    def test_the_adopted_gid_is_committed(self) -> None:
        batch = committing()
        batch.hears(votes(item(1)))
        assert batch.orders() == [(gid(1), COMMIT)]

    def test_any_other_gid_is_rolled_back(self) -> None:
        batch = committing()
        batch.hears(votes(item(1, 2)))
        assert batch.orders() == [(gid(1, 2), ROLLBACK)]

    def test_after_a_rollback_everything_is(self) -> None:
        batch = rolling_back()
        batch.hears(votes(item(1)), votes(item(3)))
        assert batch.orders() == [(gid(1), ROLLBACK), (gid(3), ROLLBACK)]

    def test_the_order_carries_what_the_database_needs_to_tell_later(self) -> None:
        batch = committing()
        batch.hears(votes(item(1)))
        (order,) = (m for m in batch.messages() if isinstance(m, Order))
        assert (order.items[0].alias, order.items[0].proof) == ("ledger", "701")

    def test_nothing_hangs_on_a_vote_that_prepared_nothing(self) -> None:
        batch = rolling_back()
        batch.hears(votes(item(1, 2, vote=ROLLBACK)), votes(item(3, kind=Kind.READ_ONLY)))
        assert batch.told == []

    def test_a_task_that_starts_is_told_to_stop(self) -> None:
        batch = rolling_back()
        late = started(3, process="p9")
        batch.hears(late)
        assert batch.told == [Tell(process="p9", message=Stop(batch=BATCH))]
        assert batch.acknowledged[-1] == late
        assert batch.core.next_write() is None


class TestRule7Duplicates:
    """Duplicates and stale messages have no second effect, and are acknowledged when what they rest on is stored."""

    def test_a_vote_delivered_twice(self) -> None:
        batch = Driver(2)
        first, second = votes(item(1)), votes(item(1))
        batch.hears(first)
        batch.takes()
        batch.hears(second)
        assert batch.acknowledged == []
        batch.ends()
        assert batch.acknowledged == [first, second]
        assert batch.core.next_write() is None

    def test_a_message_is_acknowledged_with_the_last_of_what_it_says(self) -> None:
        """One item rests on a write that is under way, the other on the next."""
        batch = Driver(3)
        batch.hears(votes(item(1)))
        batch.takes()
        both = votes(item(1), item(2))
        batch.hears(both)
        batch.ends()
        assert both not in batch.acknowledged
        batch.stores()
        assert both in batch.acknowledged

    def test_nothing_is_acknowledged_when_its_write_failed(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1)))
        batch.takes()
        batch.ends(WriteResult.UNTOUCHED)
        assert batch.acknowledged == []

    def test_a_start_heard_of_twice_is_one_attempt(self) -> None:
        batch = Driver(2)
        first, second = started(1), started(1)
        batch.hears(first)
        batch.takes()
        batch.hears(second)
        assert batch.acknowledged == []
        batch.ends()
        assert batch.acknowledged == [first, second]

    def test_a_start_that_comes_after_its_vote_does_not_undo_it(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1)), started(1))
        batch.stores()
        assert batch.state(1) is BranchState.PREPARED

    def test_a_report_that_comes_twice(self) -> None:
        batch = committing()
        batch.hears(resolved(1))
        batch.takes()
        again = resolved(1)
        batch.hears(again)
        assert len(batch.acknowledged) == 2, "the votes'"
        batch.ends()
        assert len(batch.acknowledged) == 4
        assert batch.core.ignored["report again"] == 1


class TestRule9Finishing:
    """A decided batch is repeated until every adopted gid is finished."""

    def test_it_ends_with_the_last_adopted_gid(self) -> None:
        batch = committing()
        batch.hears(resolved(1))
        assert batch.stores().state is None
        batch.hears(resolved(2))
        assert batch.stores().state is BatchState.COMMITTED
        assert batch.told == [Ended(state=BatchState.COMMITTED)]

    def test_branches_without_one_are_not_waited_for(self) -> None:
        batch = rolling_back()
        assert [batch.state(n) for n in (2, 3)] == [BranchState.FAILED, BranchState.NOT_RUN]
        batch.hears(resolved(1, outcome=Outcome.ROLLED_BACK))
        assert batch.stores().state is BatchState.ROLLED_BACK

    def test_a_report_of_another_gid_changes_nothing(self) -> None:
        batch = committing()
        batch.hears(resolved(1, 2, outcome=Outcome.ROLLED_BACK))
        assert batch.core.next_write() is None
        assert batch.state(1) is BranchState.PREPARED

    def test_an_unknown_fate_is_not_an_outcome(self) -> None:
        batch = committing()
        batch.hears(resolved(1, outcome=Outcome.UNKNOWN))
        assert batch.core.next_write() is None

    def test_a_report_before_the_decision_changes_nothing(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1)))
        batch.stores()
        batch.hears(resolved(1, outcome=Outcome.ROLLED_BACK))
        assert batch.core.next_write() is None

    def test_a_gid_finished_against_the_decision_makes_the_batch_mixed(self) -> None:
        batch = committing()
        batch.hears(resolved(1, outcome=Outcome.ROLLED_BACK), resolved(2))
        assert batch.stores().state is BatchState.MIXED
        assert batch.state(1) is BranchState.HEURISTIC_ROLLBACK

    def test_the_first_report_of_a_gid_stands(self) -> None:
        batch = committing()
        batch.hears(resolved(1), resolved(1, outcome=Outcome.ROLLED_BACK))
        batch.stores()
        assert batch.state(1) is BranchState.COMMITTED

    def test_one_gid_of_several_branches_finishes_them_all(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1, members=(1, 2))))
        batch.stores()
        batch.hears(resolved(1))
        assert batch.stores().state is BatchState.COMMITTED
        assert [batch.state(n) for n in (1, 2)] == [BranchState.COMMITTED] * 2

    def test_what_is_not_finished_is_said_again_and_then_to_any_agent(self) -> None:
        batch = committing()
        batch.hears(resolved(1))
        batch.stores()
        batch.core.repeat()
        batch.collect()
        assert batch.orders() == [(gid(2), COMMIT)]
        assert not any(isinstance(effect, Recover) for effect in batch.told)
        batch.core.repeat()
        batch.collect()
        (recover,) = (effect for effect in batch.told if isinstance(effect, Recover))
        assert (recover.alias, [i.gid for i in recover.message.items]) == ("ledger", [gid(2)])

    def test_nothing_is_repeated_before_the_decision_nor_after_the_end(self) -> None:
        undecided, over = Driver(1), committing(1)
        over.hears(resolved(1))
        over.stores()
        over.told.clear()
        for batch in (undecided, over):
            batch.core.repeat()
            batch.collect()
            assert batch.told == []


class TestAnnouncing:
    """A commit names gids, each process its own; a rollback names none."""

    def test_each_process_hears_its_own(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1), process="p1"), votes(item(2), process="p2"))
        batch.stores()
        told = {e.process: e.message for e in batch.told if isinstance(e, Tell)}
        assert told == {
            "p1": Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),)),
            "p2": Decided(batch=BATCH, outcome=COMMIT, gids=(gid(2),)),
        }
        assert batch.told[-1] == TellAll(message=Stop(batch=BATCH))

    def test_what_wrote_nothing_is_not_named(self) -> None:
        batch = Driver(2)
        batch.hears(votes(item(1), item(2, kind=Kind.READ_ONLY)))
        batch.stores()
        assert batch.messages() == [Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),))]

    def test_a_long_list_comes_in_parts(self) -> None:
        count = CHUNK + 1
        rows = [StoredBranch(number=n, alias="ledger", sent=True) for n in range(1, count + 1)]
        batch = Driver(rows)
        batch.hears(Votes(batch=BATCH, process="p1", items=tuple(item(n) for n in range(1, count + 1))))
        batch.stores()
        parts = [m for m in batch.messages() if isinstance(m, Decided)]
        assert [(p.part, p.of, len(p.gids)) for p in parts] == [(1, 2, CHUNK), (2, 2, 1)]

    def test_a_rollback_goes_to_every_process_that_ran_something(self) -> None:
        batch = Driver(3)
        batch.hears(started(1, process="p1"), started(2, process="p2"), votes(item(3, vote=ROLLBACK), process="p3"))
        batch.stores()
        told = {e.process: e.message for e in batch.told if isinstance(e, Tell)}
        assert told == {p: Decided(batch=BATCH, outcome=ROLLBACK, gids=()) for p in ("p1", "p2")}
