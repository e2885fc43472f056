"""The sockets of live pages: what they have in common, and the one of a batch's page."""

import asyncio
import json
import logging
import time
from contextlib import suppress
from functools import partial
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from coordination.live import frames
from coordination.live.frames import NOTHING
from coordination.live.hub import Feed, Hub, the_hub
from coordination.live.permission import refusal
from coordination.live.source import BatchSource, Source
from coordination.live.viewer import Bye, Left, Viewer

logger = logging.getLogger(__name__)

MAX_MESSAGE = 512
"""Characters a browser's message may have; ``hello`` has about 80."""
MESSAGES_PER_SECOND = 20.0
"""How many messages a browser may send for long; it answers at most about ten frames a second."""
BURST = 60.0
PERMISSION_SECONDS = 60.0
"""Seconds between two looks whether the viewer may still see what is shown."""
HELLO_SECONDS = 10.0
"""How long a socket may stay open without saying ``hello``."""

TOO_LARGE = 1009
"""The websocket protocol's own code for a message that is too big."""
TRY_LATER = 1013
"""The websocket protocol's own code for a server that cannot serve now."""


class LiveConsumer(AsyncWebsocketConsumer):
    """Sends the frames of one source to one browser, from the process's hub, while it may see them.

    The browser says ``{"t": "hello", "have": seq}`` first and when it has lost its place, and
    ``{"t": "have", "seq": …}`` for each frame it has taken.
    """

    channel_layer_alias = ""  # hints come to the hub, once for all sockets

    def look(self, session_key: str | None) -> Source | int:
        """What the owner of that session sees here, or the code to close with. Runs in a reader's thread.

        It is asked again each minute, so it reads the session anew.
        """
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the socket to its end, and leave nothing behind however it ends."""
        self._hub: Hub = the_hub()
        self._feed: Feed | None = None
        self._viewer: Viewer | None = None
        self._hello = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._allowance, self._counted = BURST, time.monotonic()
        try:
            await super().__call__(scope, receive, send)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._feed is not None and self._viewer is not None:
                self._hub.leave(self._feed, self._viewer)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message, without Channels' look after Django's connections: none is used here."""
        handler = {
            "websocket.connect": self.websocket_connect,
            "websocket.receive": self.websocket_receive,
            "websocket.disconnect": self.websocket_disconnect,
        }[message["type"]]
        await handler(message)

    async def connect(self) -> None:
        """Take the socket, or close it at once with the reason as its code: a handshake could not say it."""
        seen: Source | int
        try:
            seen = await self._look()
        except Exception as error:
            logger.warning("A live page is refused, its permission cannot be read: %s", error)
            seen = TRY_LATER
        await self.accept()
        if isinstance(seen, int):
            await self._bye(seen)
            return
        self._feed, self._viewer = self._hub.join(seen)
        self._tasks = [asyncio.create_task(self._send_frames()), asyncio.create_task(self._keep_checking())]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take what the browser says; one that says too much, or what makes no sense, is let go."""
        if self._feed is None or self._viewer is None:
            return
        if text_data is None or len(text_data) > MAX_MESSAGE:
            await self.close(TOO_LARGE)
        elif not self._may_speak():
            self._viewer.leave(Bye.TOO_MUCH)
        else:
            message = _parsed(text_data)
            if message.get("t") == "have":
                self._feed.answered(self._viewer)
            elif message.get("t") == "hello":
                have = message.get("have")
                self._hello.set()
                self._feed.hello(self._viewer, have if type(have) is int else NOTHING)

    def _may_speak(self) -> bool:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._counted) * MESSAGES_PER_SECOND) - 1
        self._counted = now
        return self._allowance >= 0

    async def _send_frames(self) -> None:
        assert self._viewer is not None
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await self._hello.wait()
            while True:
                await self.send(text_data=await self._viewer.next())
        except TimeoutError:
            await self._bye(Bye.TOO_SLOW)
        except Left as left:
            await self._bye(left.code)

    async def _keep_checking(self) -> None:
        assert self._viewer is not None
        while True:
            await asyncio.sleep(PERMISSION_SECONDS)
            with suppress(Exception):  # a journal that cannot be read sends no frames either
                seen = await self._look()
                if isinstance(seen, int):
                    self._viewer.leave(seen)

    async def _look(self) -> Source | int:
        """As :meth:`look`, of whoever opened the socket. Raises what reading the journal raises."""
        # From the cookie itself: Channels' session would read the journal before we could say that it is away.
        session_key = self.scope.get("cookies", {}).get(settings.SESSION_COOKIE_NAME)
        return await self._hub.readers.run(partial(self.look, session_key))

    async def _bye(self, code: int) -> None:
        with suppress(Exception):  # the browser may be gone already
            await self.send(text_data=frames.bye(code))
            await self.close(code)


class BatchConsumer(LiveConsumer):
    """The socket of one batch."""

    def look(self, session_key: str | None) -> Source | int:
        """The batch, for members of its customer."""
        batch = self.scope["url_route"]["kwargs"]["batch"]
        code = refusal(session_key, batch)
        return BatchSource(batch) if code is None else code


def _parsed(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
