"""What the server says to a browser about one batch, and the picture it is drawn from.

A browser holds a picture of the batch as of one ``seq``: one letter a task, and a head (state, decision, counts, why).
``snap`` replaces it, ``delta`` carries it from one ``seq`` to another and fits no other, ``hb`` says that nothing has
changed, ``resync`` asks the browser to say ``hello`` again, ``bye`` is the last word. Frames are JSON texts with the
kind under ``t``. Nothing here does I/O.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from coordination.protocol.states import LETTERS, BranchState

NOTHING = -1
"""The ``seq`` of somebody who has no picture yet."""

UNSEEN = "."


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a frame says of the whole batch: words for people, and what scripts look at.

    ``since`` and ``deadline`` are moments as ISO 8601 has them; ``phase`` is one of ``standing.PHASES``.
    """

    state: str
    decision: str | None
    counts: Mapping[str, int]
    why: str
    asked: str = ""
    ended: bool = False
    phase: str = ""
    since: str = ""
    deadline: str = ""
    left: str = ""
    todo: str = ""

    def fields(self) -> dict[str, Any]:
        """As the frames carry it."""
        return {**asdict(self), "counts": dict(self.counts)}


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one look into the journal brought: the batch as of ``seq``, and the tasks changed since ``since``."""

    since: int
    seq: int
    tasks: int
    head: Head
    changed: Sequence[tuple[int, str]]


class Picture:
    """All that a screen shows of a batch, as of one ``seq``."""

    def __init__(self, update: Update) -> None:
        """A first picture, from an update since ``NOTHING``."""
        self.seq = update.seq
        self.head = update.head
        self._letters = [UNSEEN] * update.tasks
        self._put(update.changed)

    @property
    def ended(self) -> bool:
        """Whether the batch has its outcome."""
        return self.head.ended

    def fits(self, update: Update) -> bool:
        """Whether ``update`` begins where the picture stands."""
        return update.since == self.seq and update.tasks == len(self._letters)

    def apply(self, update: Update) -> str | None:
        """Take the next update, and return the frame that takes others there; None if there is nothing to say.

        An update that does not begin where the picture stands is not one of the same story: ValueError.
        """
        if not self.fits(update):
            raise ValueError(f"An update from {update.since} does not fit a picture as of {self.seq}.")
        if update.seq == self.seq and update.head == self.head:
            return None
        self.seq, self.head = update.seq, update.head
        self._put(update.changed)
        frame = delta(update)
        return frame if len(frame) <= self._snap_length() else self.snap()

    def snap(self) -> str:
        """The whole picture as a frame."""
        states = "".join(self._letters)
        return _text(t="snap", seq=self.seq, n=len(self._letters), states=states, **self.head.fields())

    def nothing_new(self) -> str:
        """The frame for somebody who has all tasks as of ``seq``: the head, which may have changed without them."""
        return delta(Update(since=self.seq, seq=self.seq, tasks=len(self._letters), head=self.head, changed=[]))

    def _put(self, changed: Sequence[tuple[int, str]]) -> None:
        for number, letter in changed:
            self._letters[number - 1] = letter

    def _snap_length(self) -> int:
        return len(self._letters) + len(_text(t="snap", seq=self.seq, n=0, states="", **self.head.fields()))


def delta(update: Update) -> str:
    """The frame that carries a picture from ``since`` to ``seq``."""
    changed = [[number, letter] for number, letter in update.changed]
    return _text(t="delta", **{"from": update.since, "to": update.seq}, c=changed, **update.head.fields())


def heartbeat(seq: int, now: datetime) -> str:
    """The frame that says: what you have as of ``seq`` was all there is at ``now``."""
    return _text(t="hb", seq=seq, now=now.astimezone(UTC).isoformat(timespec="seconds"))


def resync() -> str:
    """The frame that asks for another ``hello``."""
    return _text(t="resync")


def bye(code: int) -> str:
    """The last frame, with the code that the socket is then closed with."""
    return _text(t="bye", code=code)


def answer(update: Update) -> str:
    """The one frame that answers a browser which polls: all it needs to go on from ``update.since``."""
    fresh = update.since == NOTHING or update.seq < update.since
    return Picture(update).snap() if fresh else delta(update)


def counts_by_letter(counts: Mapping[str, int], tasks: int) -> dict[str, int]:
    """A batch's counts (by name of state) as frames say them, without zeroes; all are pending before any was stored."""
    known = {LETTERS[BranchState(state)]: count for state, count in counts.items() if count}
    return known or {LETTERS[BranchState.PENDING]: tasks}


def _text(**fields: Any) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
