"""What a live view can show: something to look at in the journal, and the picture that comes of looking."""

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from coordination.live.frames import Picture, Update
from coordination.live.hints import group_of
from coordination.live.reading import read


class Shown(Protocol):
    """A picture as of one ``seq``, and the frames that bring it to a browser."""

    seq: int

    @property
    def ended(self) -> bool:
        """Whether it hardly changes any more, and may be looked at less often."""

    def fits(self, update: Any) -> bool:
        """Whether ``update`` begins where the picture stands; if not, it begins another one."""

    def apply(self, update: Any) -> str | None:
        """Take an update that fits; the frame that takes browsers along, None if there is nothing to say."""

    def snap(self) -> str:
        """The whole picture as a frame."""

    def nothing_new(self) -> str:
        """The frame for a browser that has the picture already."""


class Source(Protocol):
    """Something to look at. Equal sources share a feed, so a source is hashable and small."""

    @property
    def name(self) -> str:
        """Says in logs what it is."""

    @property
    def group(self) -> str | None:
        """The group of the channel layer on which hints about it arrive; None if there are none."""

    @property
    def poll(self) -> float:
        """Seconds after which it is looked at without a hint."""

    def read(self, since: int) -> Any:
        """Look into the journal, in a reader's thread: what has changed since ``since``, None if it is not there."""

    def picture(self, update: Any) -> Shown:
        """A first picture from an update."""


@dataclass(frozen=True)
class BatchSource:
    """One batch and all its tasks."""

    batch: UUID
    poll: float = 1.0

    @property
    def name(self) -> str:
        """The batch's id."""
        return str(self.batch)

    @property
    def group(self) -> str:
        """Where the batch's node says that it has changed."""
        return group_of(self.batch)

    def read(self, since: int) -> Update | None:
        """The tasks changed since ``since``, and how the batch stands."""
        return read(self.batch, since)

    def picture(self, update: Update) -> Picture:
        """A letter a task, and a head."""
        return Picture(update)
