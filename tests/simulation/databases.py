"""The customers' databases, modelled: transactions that can be prepared, and those that live in a connection."""

from enum import Enum
from typing import TYPE_CHECKING

from coordination.protocol.attempt import Fate, Prepared
from coordination.protocol.holdings import Found
from coordination.protocol.states import Decision, Kind, Outcome

if TYPE_CHECKING:
    from .world import World


class Tx(Enum):
    """Where a transaction stands on its server."""

    OPEN = "open"
    PREPARED = "prepared"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Transaction:
    """The work of one execution. Its effect is one row for each member; ``parked``: held, and voted for."""

    __slots__ = (
        "alias", "by_accident", "gid", "holder", "in_flight", "kind", "members", "parked", "prepared_at",
        "proof", "status",
    )  # fmt: skip

    def __init__(self, gid: str, alias: str, kind: Kind, members: tuple[int, ...], proof: str) -> None:
        self.gid, self.alias, self.kind, self.members, self.proof = gid, alias, kind, members, proof
        self.status = Tx.OPEN
        self.parked = self.in_flight = self.by_accident = False
        self.prepared_at, self.holder = 0.0, ""


class Databases:
    """All transactions of the batch, on every alias."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.all: dict[str, Transaction] = {}
        self.prepared: dict[str, Transaction] = {}

    def begin(self, gid: str, alias: str, kind: Kind, members: tuple[int, ...]) -> Transaction:
        """Open a transaction that may later be prepared as ``gid``."""
        self.world.checks.named(gid)
        tx = self.all[gid] = Transaction(gid, alias, kind, members, proof=str(len(self.all) + 700))
        return tx

    def prepared_of(self, branch: int) -> list[Transaction]:
        """The question "already prepared?"."""
        return [tx for tx in self.prepared.values() if branch in tx.members]

    def prepare(self, tx: Transaction) -> None:
        """``PREPARE TRANSACTION`` arrives at the server."""
        if tx.status is Tx.OPEN:
            tx.status, tx.prepared_at = Tx.PREPARED, self.world.now
            self.prepared[tx.gid] = tx
            self.world.note("database", f"{tx.gid[-6:]} is prepared")

    def try_prepare(self, tx: Transaction) -> Prepared:
        """What the client sees of a PREPARE; with an unknown result it may land now, later, or never."""
        weather, roll = self.world.weather, self.world.roll
        if weather.prepare_refused and roll() < weather.prepare_refused:
            self.abort(tx)
            return Prepared.REFUSED
        if weather.prepare_unknown and roll() < weather.prepare_unknown:
            fate = roll()
            if fate < 0.4:
                self.prepare(tx)
            elif fate < 0.7:
                tx.in_flight = True
                self.world.op(None, "late PREPARE", self._lands, tx)
            else:
                self.abort(tx)
            return Prepared.UNKNOWN
        self.prepare(tx)
        return Prepared.DONE

    def disconnect(self, tx: Transaction) -> None:
        """Its connection is gone: the server rolls it back, unless a PREPARE is on its way there."""
        if tx.status is Tx.OPEN and not tx.in_flight:
            self.abort(tx)

    def _lands(self, tx: Transaction) -> None:
        tx.in_flight = False
        if self.world.roll() < 0.6:
            self.prepare(tx)
        else:
            self.abort(tx)

    def look_up(self, tx: Transaction) -> Fate:
        """What became of a PREPARE whose answer was lost: prepared gids first, then the proof."""
        if self._unreachable():
            return Fate.UNKNOWN
        if tx.status is Tx.PREPARED:
            return Fate.PREPARED
        return Fate.UNDONE if tx.status is Tx.ABORTED else Fate.UNKNOWN

    def finish(self, gid: str, outcome: Decision, proof: str | None) -> tuple[Outcome, str]:
        """``COMMIT PREPARED`` or ``ROLLBACK PREPARED`` by any process, with all that can come of it."""
        weather, roll = self.world.weather, self.world.roll
        if self._unreachable() or (weather.busy and roll() < weather.busy):
            return Outcome.UNKNOWN, "busy, or not to be reached"
        tx = self.prepared.get(gid)
        if tx is None:
            return self.missing(gid, outcome, proof)
        self._end(tx, outcome)
        if weather.reply_lost and roll() < weather.reply_lost:
            return Outcome.UNKNOWN, "the answer was lost"
        return (Outcome.COMMITTED if outcome is Decision.COMMIT else Outcome.ROLLED_BACK), "finished"

    def missing(self, gid: str, outcome: Decision, proof: str | None) -> tuple[Outcome, str]:
        """ "Does not exist" is answered with proof, or as unknown."""
        tx = self.all.get(gid)
        if tx is None or proof is None or tx.status in (Tx.OPEN, Tx.PREPARED):
            return Outcome.UNKNOWN, "no such gid, and no proof"
        committed = tx.status is Tx.COMMITTED
        return (Outcome.COMMITTED if committed else Outcome.ROLLED_BACK), "its transaction id proves it"

    def finish_held(self, tx: Transaction, outcome: Decision) -> tuple[Outcome, str]:
        """The holder commits or rolls back what it holds; the answer may be lost, with the connection."""
        weather, roll = self.world.weather, self.world.roll
        if weather.reply_lost and roll() < weather.reply_lost:
            if roll() < 0.5:
                self._end(tx, outcome)
            else:
                self.lose(tx)
            return Outcome.UNKNOWN, "the answer was lost, and the connection"
        self._end(tx, outcome)
        return (Outcome.COMMITTED if outcome is Decision.COMMIT else Outcome.ROLLED_BACK), "finished"

    def abort(self, tx: Transaction, *, by_accident: bool = False) -> None:
        """The server rolls it back. ``by_accident``: nobody of ours asked for it."""
        if tx.status in (Tx.COMMITTED, Tx.ABORTED):
            return
        promised = tx.status is Tx.PREPARED or tx.parked
        self.prepared.pop(tx.gid, None)
        tx.status, tx.by_accident = Tx.ABORTED, by_accident
        self.world.note("database", f"{tx.gid[-6:]} is rolled back{' BY ACCIDENT' if by_accident else ''}")
        if promised and not by_accident:
            self.world.checks.rolled_back(tx)

    def lose(self, tx: Transaction) -> None:
        """Nobody of ours asked for it: a DBA, or a connection that was lost with what it held."""
        self.abort(tx, by_accident=True)

    def found(self) -> list[Found]:
        """What a sweep sees."""
        now = self.world.now
        return [
            Found(gid=tx.gid, age=now - tx.prepared_at, alias=tx.alias, proof=tx.proof) for tx in self.prepared.values()
        ]

    def _end(self, tx: Transaction, outcome: Decision) -> None:
        if outcome is Decision.ROLLBACK:
            self.abort(tx)
        else:
            self.prepared.pop(tx.gid, None)
            tx.status = Tx.COMMITTED
            self.world.note("database", f"{tx.gid[-6:]} is committed")
            self.world.checks.committed(tx)

    def _unreachable(self) -> bool:
        weather = self.world.weather
        return bool(weather.unreachable) and self.world.roll() < weather.unreachable
