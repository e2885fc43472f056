"""A batch in memory: where it stands, its branches, and the indexes that the rules look at with every vote."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from .messages import VoteItem
from .states import BRANCH_ENDED, BranchState
from .stored import Snapshot, StoredBranch


class Branch:
    """A branch in memory. ``adopted_in`` and ``finished_in`` are the numbers of the writes that store those facts."""

    __slots__ = (
        "adopted_in",
        "alias",
        "finished_in",
        "gid",
        "kind",
        "number",
        "process",
        "proof",
        "round",
        "sent",
        "starts",
        "state",
        "tokens",
    )  # fmt: skip

    def __init__(self, stored: StoredBranch) -> None:
        self.number, self.alias, self.state, self.sent = stored.number, stored.alias, stored.state, stored.sent
        self.round, self.gid, self.kind, self.proof = stored.round, stored.gid, stored.kind, stored.proof
        self.process = stored.process
        self.adopted_in = self.finished_in = 0
        self.tokens: set[str] = set()
        self.starts: Counter[int] = Counter()

    @property
    def finished(self) -> bool:
        return self.state in BRANCH_ENDED


class BatchMemory:
    """All that a coordinator knows of its batch.

    ``state`` and ``decision`` are what is stored. Branches, and the indexes of them, are what they will be when the
    next write is stored.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.id = snapshot.batch
        self.state = snapshot.state
        self.decision = snapshot.decision
        self.branches = {b.number: Branch(b) for b in snapshot.branches}
        for attempt in snapshot.attempts:
            branch = self.branches[attempt.branch]
            branch.tokens.add(attempt.token)
            branch.starts[attempt.retries] += 1
        self.unadopted = sum(b.gid is None for b in self.branches.values())
        """How many branches have no adopted gid."""
        self.unfinished = {b.number for b in self.branches.values() if b.gid is not None and not b.finished}
        """Numbers of the branches whose adopted gid is not finished."""
        self.by_gid: dict[str, list[Branch]] = defaultdict(list)
        """The branches that each adopted gid covers."""
        for branch in self.branches.values():
            if branch.gid is not None:
                self.by_gid[branch.gid].append(branch)
        self.ignored: Counter[str] = Counter()
        """Duplicates and stale messages by what they were: normal, and worth a look when many."""

    def adopt(self, members: Sequence[Branch], process: str, item: VoteItem, *, write: int) -> None:
        """``members`` are prepared under the gid of ``item`` from the write of that number on."""
        for branch in members:
            branch.gid, branch.kind, branch.proof = item.gid, item.kind, item.proof
            branch.process, branch.state, branch.round = process, BranchState.PREPARED, item.round
            branch.adopted_in = write
        self.by_gid[item.gid] = list(members)
        self.unadopted -= len(members)
        self.unfinished.update(b.number for b in members)

    def ignore(self, what: str, *, rests_on: int = 0) -> int:
        """Count what has no effect. Returns the number of the write that its receipt rests on."""
        self.ignored[what] += 1
        return rests_on
