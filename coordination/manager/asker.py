"""Asking what may hang, such as databases: each in a thread of its own, so that one holds up nobody."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class Asker(Generic[Key, Answer]):
    """Asks whatever keys name; each has one question to answer at a time. Belongs to one event loop."""

    def __init__(self, name: str) -> None:
        """``name`` is that of its threads."""
        self._name = name
        self._asking: dict[Key, asyncio.Future[Answer]] = {}

    async def ask(
        self, keys: Iterable[Key], question: Callable[[Key], Answer], seconds: float
    ) -> dict[Key, Answer]:
        """What those of ``keys`` answer who do so within ``seconds``.

        ``question`` runs in their threads and must not raise. Who still has an earlier one to answer is not asked;
        an answer that comes late is dropped.
        """
        self._asking = {key: asked for key, asked in self._asking.items() if not asked.done()}
        new = {key: self._begin(key, question) for key in keys if key not in self._asking}
        self._asking |= new
        if new:
            await asyncio.wait(new.values(), timeout=seconds)
        return {key: asked.result() for key, asked in new.items() if asked.done()}

    def _begin(self, key: Key, question: Callable[[Key], Answer]) -> "asyncio.Future[Answer]":
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[Answer] = loop.create_future()

        def run() -> None:
            answer = question(key)
            with contextlib.suppress(RuntimeError):  # The node has ended meanwhile.
                loop.call_soon_threadsafe(asked.set_result, answer)

        threading.Thread(target=run, name=f"{self._name}-{key}", daemon=True).start()
        return asked
