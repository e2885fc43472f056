"""What one agent holds and has heard, pure: which gids it has voted for, which batches are over, what to finish.

1.  It finishes a gid only on an order or a decision, which rest on stored facts; ``ROLLBACK`` of a batch covers all
    it holds of that batch, ``COMMIT`` only the gids that are named.
2.  What it holds and a ``COMMIT`` did not name is voted for again: absence from a list means nothing.
3.  A batch that was heard to be over starts no more tasks here, until its deadline (bounded memory).
4.  A promise that lives in this process (held) is withdrawn only while no decision on it has been begun.
5.  The sweep votes for every prepared gid it finds and holds no order for, and never rolls back on its own.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from . import gid as gids
from .messages import Decided, Held, Inquire, Order, OrderItem, ResolvedItem, StillHeld, Stop, ToAgent, VoteItem
from .states import Decision, Kind, Outcome

REMEMBERED = 10_000
"""Batches heard to be over that are remembered; the oldest is forgotten first."""

SWEEP_AGES = (10, 20, 40, 80, 160, 300)
"""Seconds of age at which the sweep votes for a gid; after the last, each 300 s. Age only saves work."""


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Carry the order out on its gid, then say :meth:`Holdings.finished` with the outcome."""

    batch: UUID
    item: OrderItem
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class VoteAgain:
    """Send these votes again, as the first time."""

    batch: UUID
    items: tuple[VoteItem, ...]


@dataclass(frozen=True, kw_only=True)
class AnswerHeld:
    """Tell the manager which of the gids it asked about are still here."""

    message: Held


Action = Finish | VoteAgain | AnswerHeld


class Holdings:
    """One agent's memory. Not thread-safe: the agent keeps one lock around it."""

    def __init__(self, process: str) -> None:
        self.process = process
        self._held: dict[UUID, dict[str, VoteItem]] = {}
        self._finishing: dict[str, Decision] = {}
        self._begun: set[str] = set()
        """Gids held here whose finishing was begun at least once, and whose outcome is not known."""
        self._over: OrderedDict[UUID, Decision | None] = OrderedDict()

    def is_over(self, batch: UUID) -> bool:
        """This process has heard that ``batch`` is decided."""
        return batch in self._over

    def voted(self, batch: UUID, item: VoteItem) -> tuple[Action, ...]:
        """A ``COMMIT`` vote was handed over: the gid is held from now on, unless it promised nothing.

        Returned actions are due at once: the batch may have been rolled back while this gid was being prepared.
        """
        if item.vote is not Decision.COMMIT or item.kind is Kind.READ_ONLY:
            return ()
        self._held.setdefault(batch, {})[item.gid] = item
        if self._over.get(batch) is Decision.ROLLBACK:
            return self._finish_all(batch, Decision.ROLLBACK, self._held[batch])
        return ()

    def hear(self, message: ToAgent) -> tuple[Action, ...]:
        """What a message asks for."""
        match message:
            case Decided():
                return self._decided(message)
            case Order():
                return self._ordered(message)
            case Stop():
                self._remember(message.batch, None)
                return ()
            case Inquire():
                return self._vote_again(message.batch)
            case StillHeld():
                still = self.still_held(message.batch, message.gids)
                return (AnswerHeld(message=Held(batch=message.batch, process=self.process, gids=still)),)

    def finished(self, batch: UUID, gid: str, outcome: Outcome, how: str) -> ResolvedItem:
        """An order was carried out, or its fate was found; the item to report. ``UNKNOWN`` keeps the gid."""
        self._finishing.pop(gid, None)
        if outcome is not Outcome.UNKNOWN:
            self._forget(batch, gid)
        return ResolvedItem(gid=gid, outcome=outcome, how=how)

    def lost(self, batch: UUID, gid: str) -> bool:
        """A held connection died. True if that must be withdrawn; False once a decision on it has been begun.

        Also when the answer to that was lost: it may have been carried out, so only proof can tell.
        """
        if gid in self._begun:
            return False
        return self._forget(batch, gid)

    def ordered(self, gid: str) -> bool:
        """An order for ``gid`` is being carried out here."""
        return gid in self._finishing

    def unanswered(self) -> tuple[VoteAgain, ...]:
        """Votes for all that is held here with no order under way; the agent casts them again each half minute.

        For a promise that lives in this process there is no sweep: if its vote, or the answer, was lost, this is
        what finds it. It also rids this memory of what other agents have finished.
        """
        return tuple(action for batch in self._held for action in self._vote_again(batch))

    def held(self) -> int:
        """How many promises this process has voted for and not finished."""
        return sum(map(len, self._held.values()))

    def still_held(self, batch: UUID, asked: Sequence[str]) -> tuple[str, ...]:
        """Those of ``asked`` that are held here, and on which no decision has been begun."""
        here = self._held.get(batch, {})
        return tuple(gid for gid in asked if gid in here and gid not in self._begun)

    def kept(self) -> list[tuple[UUID, VoteItem]]:
        """Promises that live in this process, and on which no decision has been begun: those that can be withdrawn."""
        return [
            (batch, item)
            for batch, here in self._held.items()
            for item in here.values()
            if item.kind is Kind.HELD and item.gid not in self._begun
        ]

    def begun(self) -> bool:
        """Whether a decision on a promise that lives in this process has begun to be carried out, and has not ended."""
        return any(
            item.kind is Kind.HELD and item.gid in self._begun for here in self._held.values() for item in here.values()
        )

    def _decided(self, message: Decided) -> tuple[Action, ...]:
        self._remember(message.batch, message.outcome)
        here = self._held.get(message.batch, {})
        if message.outcome is Decision.ROLLBACK:
            return self._finish_all(message.batch, Decision.ROLLBACK, here)
        actions = self._finish_all(message.batch, Decision.COMMIT, [g for g in message.gids if g in here])
        return actions + (self._vote_again(message.batch) if message.part == message.of else ())

    def _ordered(self, message: Order) -> tuple[Action, ...]:
        here = self._held.get(message.batch, {})
        actions = []
        for item in message.items:
            if item.gid not in self._finishing:
                self._finishing[item.gid] = item.outcome
                if item.gid in here:
                    self._begun.add(item.gid)
                kind = here[item.gid].kind if item.gid in here else Kind.TWO_PHASE
                actions.append(Finish(batch=message.batch, item=item, kind=kind))
        return tuple(actions)

    def _finish_all(
        self, batch: UUID, outcome: Decision, names: Sequence[str] | Mapping[str, VoteItem]
    ) -> tuple[Action, ...]:
        here = self._held.get(batch, {})
        items = tuple(OrderItem(gid=g, outcome=outcome, alias=here[g].alias, proof=here[g].proof) for g in names)
        return self._ordered(Order(batch=batch, items=items))

    def _vote_again(self, batch: UUID) -> tuple[VoteAgain, ...]:
        items = tuple(v for g, v in self._held.get(batch, {}).items() if g not in self._finishing)
        return (VoteAgain(batch=batch, items=items),) if items else ()

    def _remember(self, batch: UUID, decision: Decision | None) -> None:
        self._over[batch] = decision or self._over.get(batch)
        self._over.move_to_end(batch)
        while len(self._over) > REMEMBERED:
            self._over.popitem(last=False)

    def _forget(self, batch: UUID, gid: str) -> bool:
        self._begun.discard(gid)
        here = self._held.get(batch, {})
        found = here.pop(gid, None) is not None
        if not here:
            self._held.pop(batch, None)
        return found


@dataclass(frozen=True, kw_only=True)
class Found:
    """A prepared gid as a sweep sees it: its age in seconds, and its proof if the database still tells."""

    gid: str
    age: float
    alias: str
    proof: str | None = None
    kind: Kind = Kind.TWO_PHASE


class SweepMemory:
    """Which prepared gids a sweep has voted for and when; rule 5 above."""

    def __init__(self, installation: str) -> None:
        self._installation = installation
        self._voted: dict[str, int] = {}

    def choose(self, found: Sequence[Found], holdings: Holdings) -> list[tuple[UUID, VoteItem]]:
        """Votes to publish for what a look at all databases ``found``. Strangers' gids are never touched."""
        votes = []
        seen = {}
        for each in found:
            parts = gids.parse(each.gid)
            if parts is None or parts.installation != self._installation:
                continue
            due = due_votes(each.age)
            done = self._voted.get(each.gid, 0)
            seen[each.gid] = max(due, done)
            if due > done and not holdings.ordered(each.gid):
                votes.append((parts.batch, vote_for(each, branch=parts.branch, round=parts.round)))
        self._voted = seen
        return votes


def vote_for(found: Found, *, branch: int, round: int) -> VoteItem:
    """The ``COMMIT`` vote that anyone who sees a prepared gid may cast for it (prepared implies voted)."""
    return VoteItem(
        vote=Decision.COMMIT, gid=found.gid, members=(branch,), round=round, alias=found.alias, kind=found.kind,
        proof=found.proof,
    )  # fmt: skip


def due_votes(age: float) -> int:
    """How many votes the sweep should have cast for a gid of this age in seconds."""
    due = sum(age >= limit for limit in SWEEP_AGES)
    return due + (int(age - SWEEP_AGES[-1]) // SWEEP_AGES[-1] if age > SWEEP_AGES[-1] else 0)
