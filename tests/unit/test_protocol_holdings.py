"""What an agent holds, hears and sweeps, by example."""

from uuid import UUID

from coordination.protocol.holdings import (
    REMEMBERED,
    AnswerHeld,
    Finish,
    Found,
    Holdings,
    SweepMemory,
    VoteAgain,
    due_votes,
)
from coordination.protocol.messages import Decided, Held, Inquire, Order, OrderItem, ResolvedItem, StillHeld, Stop
from coordination.protocol.states import Kind, Outcome

from .protocol_cast import BATCH, COMMIT, INSTALLATION, ROLLBACK, gid, item


def holding(*branches: int, kind: Kind = Kind.TWO_PHASE) -> Holdings:
    """An agent that has voted for the first execution of these branches."""
    holdings = Holdings("p1")
    for branch in branches:
        assert holdings.voted(BATCH, item(branch, kind=kind)) == ()
    return holdings


def finish(branch: int, outcome: object, kind: Kind = Kind.TWO_PHASE) -> Finish:
    """What carrying out a decision on :func:`holding`'s gid looks like."""
    order = OrderItem(gid=gid(branch), outcome=outcome, alias="ledger", proof="701")  # type: ignore[arg-type]
    return Finish(batch=BATCH, item=order, kind=kind)


class TestDecisions:
    """A gid is finished only on an order or a decision."""

    def test_commit_finishes_what_it_names_and_the_rest_is_voted_for_again(self) -> None:
        actions = holding(1, 2).hear(Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),)))
        assert actions == (finish(1, COMMIT), VoteAgain(batch=BATCH, items=(item(2),)))

    def test_names_it_does_not_hold_are_not_its_business(self) -> None:
        assert holding().hear(Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),))) == ()

    def test_of_several_parts_only_the_last_makes_it_vote_again(self) -> None:
        holdings = holding(1, 2)
        first = Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),), part=1, of=2)
        assert holdings.hear(first) == (finish(1, COMMIT),)
        last = Decided(batch=BATCH, outcome=COMMIT, gids=(gid(2),), part=2, of=2)
        assert holdings.hear(last) == (finish(2, COMMIT),)

    def test_rollback_finishes_all_it_holds_of_the_batch(self) -> None:
        holdings = holding(1, 2)
        other = UUID(int=8)
        holdings.voted(other, item(3))
        actions = holdings.hear(Decided(batch=BATCH, outcome=ROLLBACK, gids=()))
        assert actions == (finish(1, ROLLBACK), finish(2, ROLLBACK))

    def test_a_vote_handed_over_after_the_rollback_was_heard_is_rolled_back(self) -> None:
        holdings = Holdings("p1")
        holdings.hear(Decided(batch=BATCH, outcome=ROLLBACK, gids=()))
        assert holdings.voted(BATCH, item(1)) == (finish(1, ROLLBACK),)

    def test_after_a_commit_was_heard_it_waits_for_its_answer(self) -> None:
        holdings = Holdings("p1")
        holdings.hear(Decided(batch=BATCH, outcome=COMMIT, gids=()))
        assert holdings.voted(BATCH, item(1)) == ()

    def test_stop_says_nothing_about_what_is_held(self) -> None:
        holdings = holding(1)
        assert holdings.hear(Stop(batch=BATCH)) == ()
        assert holdings.is_over(BATCH)
        assert holdings.voted(BATCH, item(2)) == ()

    def test_an_order_is_carried_out_whoever_prepared(self) -> None:
        order = OrderItem(gid=gid(1), outcome=COMMIT, alias="ledger", proof="701")
        assert Holdings("p2").hear(Order(batch=BATCH, items=(order,))) == (finish(1, COMMIT),)

    def test_an_order_that_is_under_way_is_not_begun_again(self) -> None:
        holdings = holding(1)
        message = Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),))
        holdings.hear(message)
        assert holdings.ordered(gid(1))
        assert holdings.hear(message) == ()

    def test_it_is_when_the_outcome_is_unknown(self) -> None:
        holdings = holding(1)
        message = Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),))
        holdings.hear(message)
        holdings.finished(BATCH, gid(1), Outcome.UNKNOWN, "busy")
        assert holdings.held() == 1
        assert holdings.hear(message) == (finish(1, COMMIT),)

    def test_what_is_finished_is_forgotten_and_reported(self) -> None:
        holdings = holding(1)
        report = holdings.finished(BATCH, gid(1), Outcome.COMMITTED, "finished")
        assert report == ResolvedItem(gid=gid(1), outcome=Outcome.COMMITTED, how="finished")
        assert holdings.held() == 0


class TestVotingAgain:
    """What is held and not answered is voted for again."""

    def test_when_a_manager_asks(self) -> None:
        assert holding(1, 2).hear(Inquire(batch=BATCH)) == (VoteAgain(batch=BATCH, items=(item(1), item(2))),)
        assert holding().hear(Inquire(batch=BATCH)) == ()

    def test_and_from_time_to_time(self) -> None:
        holdings = holding(1, 2)
        holdings.hear(Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),)))
        assert holdings.unanswered() == (VoteAgain(batch=BATCH, items=(item(2),)),)

    def test_a_vote_that_promised_nothing_is_not_held(self) -> None:
        holdings = Holdings("p1")
        holdings.voted(BATCH, item(1, kind=Kind.READ_ONLY))
        holdings.voted(BATCH, item(2, vote=ROLLBACK))
        assert holdings.held() == 0


class TestHeldConnections:
    """A promise that lives in this process is withdrawn only while no decision on it was begun."""

    def test_it_answers_for_what_it_still_holds(self) -> None:
        holdings = holding(1, kind=Kind.HELD)
        asked = StillHeld(batch=BATCH, gids=(gid(1), gid(2)))
        assert holdings.hear(asked) == (AnswerHeld(message=Held(batch=BATCH, process="p1", gids=(gid(1),))),)

    def test_a_lost_connection_is_withdrawn_once(self) -> None:
        holdings = holding(1, kind=Kind.HELD)
        assert holdings.lost(BATCH, gid(1))
        assert not holdings.lost(BATCH, gid(1))
        assert holdings.held() == 0

    def test_not_when_its_commit_was_begun(self) -> None:
        holdings = holding(1, kind=Kind.HELD)
        assert holdings.hear(Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),))) == (finish(1, COMMIT, Kind.HELD),)
        assert not holdings.lost(BATCH, gid(1))

    def test_nor_when_the_answer_to_that_was_lost(self) -> None:
        """The commit may have been carried out: only proof can tell."""
        holdings = holding(1, kind=Kind.HELD)
        holdings.hear(Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),)))
        holdings.finished(BATCH, gid(1), Outcome.UNKNOWN, "the answer was lost")
        assert not holdings.lost(BATCH, gid(1))
        assert holdings.hear(StillHeld(batch=BATCH, gids=(gid(1),))) == (
            AnswerHeld(message=Held(batch=BATCH, process="p1", gids=())),
        )


def test_a_batch_heard_to_be_over_is_remembered_within_bounds() -> None:
    holdings = Holdings("p1")
    for number in range(REMEMBERED + 1):
        holdings.hear(Stop(batch=UUID(int=number)))
    assert not holdings.is_over(UUID(int=0))
    assert holdings.is_over(UUID(int=1))
    assert holdings.is_over(UUID(int=REMEMBERED))


class TestSweep:
    """It votes for every prepared gid it finds and holds no order for, and never rolls back on its own."""

    def found(self, name: str, age: float) -> Found:
        return Found(gid=name, age=age, alias="ledger", proof="701")

    def test_it_votes_at_ten_twenty_forty_seconds_and_so_on(self) -> None:
        assert [due_votes(age) for age in (9.9, 10, 19.9, 20, 40, 80, 160, 300)] == [0, 1, 1, 2, 3, 4, 5, 6]
        assert [due_votes(age) for age in (599, 600, 900, 1200)] == [6, 7, 8, 9]

    def test_each_age_gets_one_vote(self) -> None:
        memory, holdings = SweepMemory(INSTALLATION), Holdings("p1")
        ages = (5, 10, 15, 20, 25, 41)
        voted = [age for age in ages if memory.choose([self.found(gid(1), age)], holdings)]
        assert voted == [10, 20, 41]

    def test_a_process_that_just_started_votes_for_what_is_old(self) -> None:
        memory = SweepMemory(INSTALLATION)
        ((batch, vote),) = memory.choose([self.found(gid(1), 3600)], Holdings("p1"))
        assert (batch, vote) == (BATCH, item(1))

    def test_what_it_has_an_order_for_is_left_alone(self) -> None:
        holdings = holding(1)
        holdings.hear(Decided(batch=BATCH, outcome=COMMIT, gids=(gid(1),)))
        assert SweepMemory(INSTALLATION).choose([self.found(gid(1), 50)], holdings) == []

    def test_strangers_are_never_touched(self) -> None:
        memory = SweepMemory("00000000")
        names = [gid(1), "somebody-elses", "cc_5eed5eed_nonsense"]
        assert memory.choose([self.found(name, 999) for name in names], Holdings("p1")) == []

    def test_it_remembers_only_what_is_still_there(self) -> None:
        memory, holdings = SweepMemory(INSTALLATION), Holdings("p1")
        memory.choose([self.found(gid(1), 50)], holdings)
        memory.choose([], holdings)
        assert memory.choose([self.found(gid(1), 50)], holdings)
