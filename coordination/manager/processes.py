"""Whoever runs tasks of a batch and is silent: does its mailbox still have a reader?"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from coordination.bus.port import BusError
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.journal_rules import ANSWER_SECONDS

SILENT_SECONDS = 5.0
"""A process that was not heard of for so long is asked after."""


class Processes:
    """The worker processes of one batch, and when each was last heard of."""

    def __init__(self, core: Coordinator, lives: Callable[[str], Awaitable[bool]], wake: Callable[[], None]) -> None:
        """``lives`` tells whether a process's mailbox is read (raises BusError); ``wake`` is for news in ``core``."""
        self._core = core
        self._lives = lives
        self._wake = wake
        self._heard: dict[str, float] = {}

    def heard(self, process: str) -> None:
        """It has said something."""
        self._heard[process] = monotonic()

    async def look_after(self) -> None:
        """Tell the coordinator of those that are gone. For ever."""
        while True:
            await asyncio.sleep(ANSWER_SECONDS)
            now = monotonic()
            for process in self._core.running_on():
                if now - self._heard.setdefault(process, now) < SILENT_SECONDS:
                    continue
                try:
                    lives = await self._lives(process)
                except BusError:
                    break
                if not lives:
                    self._heard.pop(process, None)
                    self._core.process_gone(process)
                    self._wake()
