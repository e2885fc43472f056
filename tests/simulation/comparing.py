"""What two states have to do with each other: which may follow which, and what makes two coordinators equal."""

from coordination.protocol.coordinator import Coordinator
from coordination.protocol.states import BRANCH_TRANSITIONS, BranchState


def _reachable() -> dict[BranchState, frozenset[BranchState]]:
    """One write may carry a branch over several transitions: whatever the table leads to."""
    reach = {}
    for start in BranchState:
        seen, todo = {start}, [start]
        while todo:
            new = BRANCH_TRANSITIONS[todo.pop()] - seen
            seen |= new
            todo.extend(new)
        reach[start] = frozenset(seen)
    return reach


REACHABLE = _reachable()


def essence(core: Coordinator) -> tuple[object, ...]:
    """All that a coordinator knows of its batch, but for what is on its way."""
    branches = [
        (b.number, b.state, b.sent, b.round, b.gid, b.kind, b.proof, b.process, sorted(b.tokens), dict(b.starts))
        for b in core.branches.values()
    ]
    batch = core._batch
    by_gid = {g: sorted(b.number for b in members) for g, members in batch.by_gid.items() if members}
    return core.state, core.decision, branches, by_gid, batch.unadopted, sorted(batch.unfinished)
