"""Tells people: one ERROR line on logger ``coordination.attention`` for each matter, and a POST of the same.

Who says it is settled in the journal, so that many nodes say it once, and a restart does not say it again. The POST
is made in a thread of its own with a time limit: however slow the other side is, the node goes on.
"""

import asyncio
import contextlib
import json
import logging
import queue
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from coordination import conf
from coordination.journal import alerts
from coordination.journal.alerts import Raised
from coordination.journal.pool import JournalError, JournalPool

logger = logging.getLogger("coordination.attention")

LOOK_SECONDS = 2.0
POST_SECONDS = 5.0
PAUSES = (10.0, 60.0, 300.0, 900.0)
"""Seconds after each try that failed until the next one; the try after the last of them is the last."""


class Alerts:
    """One node's part in it. Runs on the node's loop."""

    def __init__(
        self, node: str, journal: JournalPool, *, every: float = LOOK_SECONDS, pauses: tuple[float, ...] = PAUSES
    ) -> None:
        self._node, self._journal = node, journal
        self._every, self._pauses = every, pauses
        self._poster = Poster()

    async def run(self) -> None:
        """Say and send until cancelled. A journal that does not answer is looked at again."""
        try:
            await asyncio.gather(self._over_and_over(self.say), self._over_and_over(self.send))
        finally:
            self._poster.close()

    async def _over_and_over(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except JournalError as error:
                logging.getLogger(__name__).info("Nobody could be alerted for now: %s", error)
            except Exception:  # A defect in telling of batches is no reason to manage none.
                logging.getLogger(__name__).exception("Nobody could be alerted for now.")
            await asyncio.sleep(self._every)

    async def say(self) -> None:
        """Log what nobody has said. Raises JournalError."""
        for alert in await self._journal.run(alerts.raise_new, self._node):
            logger.error("%s", alert.words, extra={"batch": alert.batch, "kind": alert.kind})

    async def send(self) -> None:
        """Post what is due, one after the other. Raises JournalError."""
        url = conf.alert_url()
        while url and (due := await self._journal.run(alerts.take_due, self._pauses)):
            await self._send(url, due)

    async def _send(self, url: str, alert: Raised) -> None:
        problem = await self._poster.post(url, alert.body)
        if not problem:
            await self._journal.run(alerts.arrived, alert.id)
        elif await self._journal.run(alerts.failed, alert.id, len(self._pauses) + 1):
            logger.warning("An alert could not be sent to COORDINATION_ALERT_URL and is given up: %s", problem)
        else:
            logger.info("An alert could not be sent to COORDINATION_ALERT_URL yet: %s", problem)


class Poster:
    """Posts in a thread of its own, one at a time. A daemon: it keeps no process from ending."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[str, bytes, asyncio.Future[str]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def post(self, url: str, body: Mapping[str, Any]) -> str:
        """Post ``body`` as JSON; what went wrong, in words without the address, or empty."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="coordination-alerts", daemon=True)
            self._thread.start()
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._jobs.put((url, json.dumps(body, ensure_ascii=False).encode(), answer))
        return await answer

    def close(self) -> None:
        """End when what is under way is done. Does not wait."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            url, body, answer = job
            problem = _post(url, body)
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever asked
                answer.get_loop().call_soon_threadsafe(_settle, answer, problem)


def _settle(answer: "asyncio.Future[str]", problem: str) -> None:
    if not answer.done():
        answer.set_result(problem)


def _post(url: str, body: bytes) -> str:
    headers = {"Content-Type": "application/json", "User-Agent": "coordination"}
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=POST_SECONDS):
            return ""
    except Exception as error:  # an answer that is an error, no answer, no such host, an address that is none
        return f"{type(error).__name__} {getattr(error, 'code', '')}".strip()
