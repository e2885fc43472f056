"""One hub per web process: it looks into the journal for all who view the same, once for all of them.

    feed    one per batch (or other source) that somebody views: a picture, and who gets its frames
    hub     the feeds of this process, and the channel on which hints for any of them arrive

One viewer more costs a frame, not a query. Without hints a feed looks each second; a heartbeat is sent only
while the journal answers, so that a screen goes stale when what it shows may no longer be true.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.utils import timezone

from coordination.live import frames
from coordination.live.frames import NOTHING
from coordination.live.reading import Readers
from coordination.live.source import BatchSource, Shown, Source
from coordination.live.viewer import Bye, Viewer

logger = logging.getLogger(__name__)

Read = Callable[[int], Awaitable[Any]]

GAP = 0.125
"""Seconds between two looks: at most eight frames a second, however many hints come."""
POLL_ENDED = 5.0
"""Seconds after which what has ended, and hardly changes any more, is looked at without a hint."""
RETRY = 1.0
"""Seconds between two attempts to hear hints."""
HEARTBEAT = 10.0
"""Seconds between two heartbeats, and between two renewals of the subscription to hints."""
SILENCE = 30.0
"""Seconds after which a socket that answers nothing is closed."""
LAYER_SECONDS = 2.0
"""How long the channel layer may take to answer."""


class Feed:
    """The frames of one source, for all its viewers in this process."""

    def __init__(self, source: Source, read: Read, clock: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self.viewers: set[Viewer] = set()
        self._read = read
        self._clock = clock
        self._hint = asyncio.Event()
        self._picture: Shown | None = None
        self._looked = float("-inf")
        self._beat = clock()
        self._failing = False

    def hint(self) -> None:
        """It may have changed: look soon."""
        self._hint.set()

    def hello(self, viewer: Viewer, have: int) -> None:
        """A browser says which ``seq`` it has (``NOTHING``: none); it is given what it lacks."""
        viewer.begin_again()
        if self._picture is None or not self._is_fresh:
            self.hint()
        elif have == self._picture.seq:
            viewer.offer_snapshot(self._picture.nothing_new())
        else:
            viewer.offer_snapshot(self._picture.snap())

    def answered(self, viewer: Viewer) -> None:
        """A browser has taken a frame; one that had fallen behind gets a snapshot."""
        viewer.answered()
        if viewer.wants_snapshot and self._picture is not None and self._is_fresh:
            viewer.offer_snapshot(self._picture.snap())

    async def run(self) -> None:
        """Look and tell until cancelled. A journal that cannot be read is tried again each second."""
        while True:
            self._hint.clear()
            await self._look()
            self._tend()
            await asyncio.sleep(GAP)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll - GAP):
                    await self._hint.wait()

    async def _look(self) -> None:
        since = self._picture.seq if self._picture else NOTHING
        try:
            update = await self._read(since)
        except Exception as error:
            if not self._failing:
                logger.warning("The journal cannot be read, screens go stale: %s", error, extra=self._extra)
            self._failing = True
            return
        self._failing = False
        self._looked = self._clock()
        if update is None:
            self._picture = None
            for viewer in self.viewers:
                viewer.leave(Bye.NOT_FOUND)
        else:
            self._take(update)

    def _take(self, update: Any) -> None:
        if self._picture is None:
            self._picture = self.source.picture(update)
        elif self._picture.fits(update):
            frame = self._picture.apply(update)
            if frame is not None:
                for viewer in self.viewers:
                    viewer.offer(frame)
        else:  # the journal is older than what we showed: begin again
            self._picture = self.source.picture(update)
            for viewer in self.viewers:
                viewer.offer(frames.resync())
        wanting = [viewer for viewer in self.viewers if viewer.wants_snapshot and viewer.has_room]
        if wanting:
            snap = self._picture.snap()
            for viewer in wanting:
                viewer.offer_snapshot(snap)

    def _tend(self) -> None:
        """Close the sockets that answer nothing, and say now and then that the journal still answers."""
        for viewer in self.viewers:
            if viewer.silent_seconds > SILENCE:
                viewer.leave(Bye.TOO_SLOW)
        if self._clock() - self._beat < HEARTBEAT or not self._is_fresh or self._picture is None:
            return
        self._beat = self._clock()
        beat = frames.heartbeat(self._picture.seq, timezone.now())
        for viewer in self.viewers:
            if viewer.has_room:
                viewer.offer(beat)

    @property
    def _is_fresh(self) -> bool:
        return self._clock() - self._looked < self._poll + GAP

    @property
    def _poll(self) -> float:
        ended = self._picture is not None and self._picture.ended
        return POLL_ENDED if ended else self.source.poll

    @property
    def _extra(self) -> dict[str, str]:
        return {"batch": self.source.name}


class Hub:
    """The feeds of one event loop."""

    def __init__(self, readers: Readers | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.readers = readers or Readers()
        self.feeds: dict[Source, Feed] = {}
        self._clock = clock
        self._tasks: dict[Source, list[asyncio.Task[None]]] = {}
        self._channel: str | None = None
        self._listener: asyncio.Task[None] | None = None

    def join(self, source: Source) -> tuple[Feed, Viewer]:
        """A place in the feed of ``source``, which is begun for its first viewer."""
        viewer = Viewer(self._clock)
        feed = self.feeds.get(source)
        if feed is None:
            feed = self.feeds[source] = Feed(source, partial(self._read, source), self._clock)
            self._tasks[source] = [asyncio.create_task(feed.run())]
            if source.group is not None:
                self._tasks[source].append(asyncio.create_task(self._subscribe(source.group)))
            if self._listener is None:
                self._listener = asyncio.create_task(self._listen())
        feed.viewers.add(viewer)
        return feed, viewer

    def leave(self, feed: Feed, viewer: Viewer) -> None:
        """Give the place up; a feed ends with its last viewer."""
        feed.viewers.discard(viewer)
        if feed.viewers or self.feeds.get(feed.source) is not feed:
            return
        del self.feeds[feed.source]
        for task in self._tasks.pop(feed.source):
            task.cancel()
        if not self.feeds and self._listener is not None:
            self._listener.cancel()
            self._listener = self._channel = None

    async def _read(self, source: Source, since: int) -> Any:
        return await self.readers.run(partial(source.read, since))

    async def _subscribe(self, group: str) -> None:
        """Keep this process in the group, also over a restart of the channel layer."""
        layer: Any = get_channel_layer()
        if layer is None:
            return
        try:
            while True:
                with suppress(Exception):
                    async with asyncio.timeout(LAYER_SECONDS):
                        if self._channel is not None:
                            await layer.group_add(group, self._channel)
                await asyncio.sleep(HEARTBEAT if self._channel else GAP)
        finally:
            if self._channel is not None:
                channel = self._channel
                with suppress(Exception):
                    async with asyncio.timeout(LAYER_SECONDS):
                        await layer.group_discard(group, channel)

    async def _listen(self) -> None:
        """Hand each hint to its feed. Whatever the channel layer does, this goes on: a feed looks by itself as well."""
        layer: Any = get_channel_layer()
        while layer is not None:
            try:
                self._channel = self._channel or await layer.new_channel()
                message = await layer.receive(self._channel)
                feed = self.feeds.get(BatchSource(UUID(str(message.get("batch")))))
            except ValueError:
                continue
            except Exception as error:
                logger.debug("No hints for now, screens look by themselves: %s", error)
                await asyncio.sleep(RETRY)
                continue
            if feed is not None and message.get("type") == "batch.changed":
                feed.hint()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def the_hub() -> Hub:
    """The hub of the running event loop: a web process has one loop, so one hub."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    return hub
