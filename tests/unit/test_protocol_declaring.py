"""Rule 10 of the protocol: what a person declares of tasks whose database is gone for good."""

import uuid

import pytest

from coordination.journal.claims import Asked
from coordination.manager.asked import tell
from coordination.protocol.effects import Ended, Recover
from coordination.protocol.messages import Order
from coordination.protocol.states import BatchState, BranchState, Declared, Outcome

from .protocol_cast import COMMIT, ROLLBACK, Driver, gid, item, resolved, votes
from .test_protocol_finishing import committing, rolling_back

HOW = "Declared by olga: the disk is gone"


def declares(batch: Driver, fate: Declared, *numbers: int, request: int = 5) -> str:
    """Declare, store what that leads to, and return the answer."""
    batch.core.declare(request, numbers, fate, HOW)
    write = batch.stores()
    return write.requests[request]


@pytest.mark.parametrize(
    "decided, fate, state, outcome",
    [
        (COMMIT, Declared.COMMITTED, BranchState.COMMITTED, BatchState.COMMITTED),
        (COMMIT, Declared.ROLLED_BACK, BranchState.HEURISTIC_ROLLBACK, BatchState.MIXED),
        (COMMIT, Declared.LOST, BranchState.LOST, BatchState.MIXED),
        (ROLLBACK, Declared.ROLLED_BACK, BranchState.ROLLED_BACK, BatchState.ROLLED_BACK),
        (ROLLBACK, Declared.COMMITTED, BranchState.HEURISTIC_COMMIT, BatchState.MIXED),
        (ROLLBACK, Declared.LOST, BranchState.LOST, BatchState.MIXED),
    ],
)
def test_what_differs_from_the_decision_and_what_is_lost_ends_mixed(
    decided: object, fate: Declared, state: BranchState, outcome: BatchState
) -> None:
    batch = committing(1) if decided is COMMIT else rolling_back()
    batch.core.declare(5, [1], fate, HOW)
    write = batch.stores()
    assert (batch.state(1), write.state) == (state, outcome)
    assert write.branches[1].how == HOW
    assert write.requests == {5: f"Declared {fate.words}: 1 task (1)"}
    assert any(HOW in entry for entry in write.entries)
    assert batch.told[-1] == Ended(state=outcome)


def test_a_batch_ends_when_the_others_have_answered() -> None:
    batch = committing(2)
    declares(batch, Declared.LOST, 1)
    assert batch.core.state is BatchState.COMMITTING
    batch.hears(resolved(2))
    assert batch.stores().state is BatchState.MIXED


def test_nothing_is_declared_before_the_decision() -> None:
    batch = Driver(2)
    batch.hears(votes(item(1)))
    assert declares(batch, Declared.COMMITTED, 1).startswith("Refused: the batch is not decided")
    assert batch.state(1) is BranchState.PREPARED


def test_a_declaration_waits_for_the_decision_that_is_being_stored() -> None:
    batch = Driver(1)
    batch.hears(votes(item(1)))
    batch.takes()
    batch.core.declare(5, [1], Declared.LOST, HOW)
    batch.ends()
    assert batch.stores().state is BatchState.MIXED


def test_what_has_ended_stays_as_it_is() -> None:
    batch = committing(3)
    batch.hears(resolved(1))
    batch.stores()
    assert declares(batch, Declared.LOST, 1) == "Nothing was declared: these tasks have ended"
    assert declares(batch, Declared.LOST, 1, 2) == "Declared lost: 1 task (2)"
    assert batch.state(1) is BranchState.COMMITTED


def test_a_report_after_the_declaration_is_acknowledged_and_changes_nothing() -> None:
    batch = committing(2)
    declares(batch, Declared.LOST, 1)
    late = resolved(1, outcome=Outcome.COMMITTED)
    batch.hears(late)
    assert batch.state(1) is BranchState.LOST
    assert late in batch.acknowledged


def test_tasks_prepared_as_one_are_declared_as_one() -> None:
    batch = Driver(2)
    batch.hears(votes(item(1, members=(1, 2))))
    batch.stores()
    assert declares(batch, Declared.COMMITTED, 1).startswith("Refused: tasks 1, 2 were prepared as one")
    assert declares(batch, Declared.COMMITTED, 1, 2, request=6) == "Declared committed: 2 tasks (1, 2)"


def test_what_is_declared_is_ordered_no_more() -> None:
    batch = committing(2)
    declares(batch, Declared.LOST, 1)
    batch.told.clear()
    batch.core.repeat()
    batch.collect()
    assert batch.orders() == [(gid(2), COMMIT)]


def test_asking_again_goes_to_any_agent_at_once() -> None:
    batch = committing(2)
    batch.hears(resolved(1))
    batch.stores()
    batch.told.clear()
    batch.core.ask_again(7)
    assert batch.stores().requests == {7: "Asked again what became of 1 task"}
    (order,) = (effect.message for effect in batch.told if isinstance(effect, Recover))
    assert isinstance(order, Order) and [one.gid for one in order.items] == [gid(2)]


def test_asking_again_before_the_decision_asks_nothing() -> None:
    batch = Driver(1)
    batch.core.ask_again(7)
    assert batch.stores().requests == {7: "There is nothing to ask for"}
    assert batch.told == []


@pytest.mark.parametrize("action, fate", [("declare", "eaten"), ("eat", "")])
def test_what_a_node_does_not_know_is_refused_and_the_batch_goes_on(action: str, fate: str) -> None:
    batch = committing(1)
    asked = Asked(id=5, batch=uuid.uuid4(), action=action, by="olga", why="", fate=fate, tasks=(1,))
    tell(batch.core, asked, node="host-1")
    refused = f"Refused: node host-1 does not know {fate or action!r}; upgrade it, then ask again"
    assert batch.stores().requests == {5: refused}
    assert batch.core.state is BatchState.COMMITTING
