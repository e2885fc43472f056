"""What a batch waits for, in words for people: kept with the batch, and shown on its screens."""

import asyncio
import contextlib
import logging

from coordination.journal import writer
from coordination.journal.claims import Claim
from coordination.journal.pool import JournalError
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.states import BatchState

from .outside import LOOK_SECONDS
from .surroundings import Surroundings

logger = logging.getLogger(__name__)

MOST = 500
"""Characters of it."""


class WaitingFor:
    """Says it of one batch. What is said later replaces what was said before."""

    def __init__(self, claim: Claim, core: Coordinator, around: Surroundings) -> None:
        self._claim = claim
        self._core = core
        self._around = around

    async def say(self, words: str) -> None:
        """Why it is not dispatched yet. Does nothing once it is: the rest is said by :meth:`follow`."""
        if self._core.state is BatchState.PENDING:
            with contextlib.suppress(JournalError):  # It is said again soon.
                await self._store(words[:MOST])

    async def follow(self, queue: str) -> None:
        """Say what holds it up outside, once it is dispatched: the broker, or a queue that nobody reads. For ever.

        ``queue`` is the customer's, of which Celery's routes may lead to others.
        """
        outside, dispatcher = self._around.outside, self._around.dispatcher
        queues: list[str] = []
        said: tuple[BatchState, str] | None = None
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            state = self._core.state
            if state is BatchState.PENDING:
                continue  # Admission says what it waits for.
            try:
                words = outside.broker()
                if not words and self._core.waits_for_workers:
                    queues = queues or await asyncio.wrap_future(
                        dispatcher.submit(dispatcher.queues, self._claim.batch, queue)
                    )
                    words = await outside.unread(queues)
                # A change of state takes the words back; so does nobody after a takeover.
                if (words or said or self._claim.epoch > 1) and (state, words) != said:
                    await self._store(words)
                    said = state, words
            except JournalError as error:
                logger.info("Batch %s: what it waits for could not be said: %s", self._claim.batch, error)

    async def _store(self, words: str) -> None:
        await self._around.journal.run(writer.wait_for, self._claim.batch, self._claim.epoch, words)
        await self._around.notify(self._claim.batch)
