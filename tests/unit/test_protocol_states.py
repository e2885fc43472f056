"""The tables of states: complete, and kept by whatever a coordinator is made to hear."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.protocol.coordinator import Coordinator
from coordination.protocol.effects import Ended, StepDown
from coordination.protocol.messages import ToManager
from coordination.protocol.states import (
    BATCH_ENDED,
    BATCH_TRANSITIONS,
    BRANCH_ENDED,
    BRANCH_TRANSITIONS,
    CONTRADICTED,
    LETTERS,
    LOOKS,
    BatchState,
    BranchState,
    Decision,
    Guarantee,
    Kind,
    Outcome,
)
from coordination.protocol.stored import WriteResult

from .protocol_cast import Driver, gid, held, item, resolved, started, votes, withdrawn

BRANCHES = 3


def test_every_state_is_in_its_table() -> None:
    assert set(BATCH_TRANSITIONS) == set(BatchState)
    assert set(BRANCH_TRANSITIONS) == set(BranchState) == set(LOOKS)


def test_every_state_can_be_reached_and_left_or_is_an_end() -> None:
    for table, first in ((BATCH_TRANSITIONS, BatchState.PENDING), (BRANCH_TRANSITIONS, BranchState.PENDING)):
        reached = {first} | {state for following in table.values() for state in following}  # type: ignore[attr-defined]
        assert reached == set(table)
    assert {str(s) for s in BATCH_ENDED} == {"COMMITTED", "ROLLED_BACK", "MIXED"}
    assert BRANCH_ENDED > CONTRADICTED


def test_a_state_has_a_letter_and_a_word_of_its_own() -> None:
    assert len(set(LETTERS.values())) == len(BranchState)
    assert len({look.word for look in LOOKS.values()}) == len(BranchState)


def test_the_weakest_guarantee() -> None:
    assert Guarantee.weakest([]) is Guarantee.CRASH_SAFE
    assert Guarantee.weakest([Guarantee.CRASH_SAFE, Guarantee.PROCESS_BOUND]) is Guarantee.PROCESS_BOUND
    assert Guarantee.weakest(list(Guarantee)) is Guarantee.COMPENSATED


# --- whatever a coordinator hears -----------------------------------------------------------------------------

numbers, executions = st.integers(1, BRANCHES), st.integers(1, 3)
heard: st.SearchStrategy[ToManager] = st.one_of(
    st.builds(started, numbers, executions, retries=st.integers(0, 1)),
    st.builds(
        lambda n, e, vote, kind, others: votes(item(n, e, vote=vote, kind=kind, members=(n, *sorted(others - {n})))),
        numbers, executions, st.sampled_from((Decision.COMMIT,) * 3 + (Decision.ROLLBACK,)), st.sampled_from(Kind),
        st.sets(numbers, max_size=1),
    ),
    st.builds(withdrawn, numbers, executions),
    st.builds(resolved, numbers, executions, st.sampled_from(Outcome)),
    st.builds(lambda names: held(*(gid(n) for n in names)), st.sets(numbers)),
)  # fmt: skip
told: st.SearchStrategy[Callable[[Coordinator], None]] = st.sampled_from(
    [
        Coordinator.admit, Coordinator.resume, Coordinator.deadline_passed, Coordinator.holders_silent,
        Coordinator.repeat, lambda core: core.redispatch(wiped=True), lambda core: core.process_gone("p1"),
        lambda core: core.sent([1]), lambda core: core.cancel(1, "Cancelled by ann"), lambda core: core.refuse("full"),
    ]
)  # fmt: skip
steps = st.lists(heard | told | st.sampled_from(["take", "store", "store", "unknown"]), max_size=40)


class Walk:
    """A coordinator led anywhere, watched at each step."""

    def __init__(self, state: BatchState) -> None:
        self.batch = Driver(BRANCHES, state=state)
        self.stored_state, self.decision = state, None
        self.outstanding = None

    def step(self, step: object) -> None:
        """One step; every branch goes along the table, or stays where it is."""
        before = {n: b.state for n, b in self.batch.core.branches.items()}
        if isinstance(step, str):
            self._write(step)
        elif callable(step):
            step(self.batch.core)
        else:
            self.batch.hears(step)  # type: ignore[arg-type]
        self.batch.collect()
        for number, state in before.items():
            after = self.batch.state(number)
            assert after is state or after in BRANCH_TRANSITIONS[state], f"branch {number}: {state} → {after}"

    def _write(self, step: str) -> None:
        if self.outstanding is None:
            self.outstanding = self.batch.core.next_write()
        if self.outstanding is None or step == "take":
            return
        write, self.outstanding = self.outstanding, None
        self.batch.ends(WriteResult.UNKNOWN if step == "unknown" else WriteResult.STORED)
        if step == "unknown":
            return
        if write.state is not None:
            legal = BATCH_TRANSITIONS[self.stored_state] | {self.stored_state}
            assert write.state in legal, f"{self.stored_state} → {write.state}"
            self.stored_state = write.state
        if write.decision is not None:
            assert self.decision is None, "decided twice"
            self.decision = write.decision


@settings(max_examples=600, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([BatchState.PENDING, BatchState.ACTIVE]), steps)
def test_no_input_leads_outside_the_tables(state: BatchState, path: list[object]) -> None:
    walk = Walk(state)
    for step in path:
        walk.step(step)
    told = walk.batch.told
    stepped_down = [n for n, effect in enumerate(told) if isinstance(effect, StepDown)]
    assert stepped_down in ([], [len(told) - 1]), "nothing is said after stepping down"
    assert sum(isinstance(effect, Ended) for effect in told) == 0 or walk.stored_state in BATCH_ENDED
