"""A batch's queue as its manager consumes it: lost and found again, and what nobody understands set aside."""

import asyncio
import logging
from collections.abc import Callable

from coordination.bus.port import BatchChannel, BusError, Delivery, QueueLost
from coordination.journal import claims
from coordination.journal.claims import Claim
from coordination.journal.pool import JournalError
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.encoding import MessageError
from coordination.protocol.journal_rules import ANSWER_SECONDS
from coordination.protocol.states import BatchState

from .poison import read, set_aside
from .processes import Processes
from .strays import is_over
from .surroundings import Surroundings
from .waiting_for import WaitingFor

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class BatchQueue:
    """Feeds one batch's coordinator."""

    def __init__(
        self,
        claim: Claim,
        core: Coordinator,
        around: Surroundings,
        *,
        processes: Processes,
        waiting_for: WaitingFor,
        wake: Callable[[], None],
    ) -> None:
        """``wake`` is called when the coordinator has heard something."""
        self.consumed = asyncio.Event()
        """There is a queue, so that tasks may be sent: their votes will find it."""
        self._claim = claim
        self._core = core
        self._around = around
        self._processes = processes
        self._waiting_for = waiting_for
        self._wake = wake
        self._channel: BatchChannel | None = None
        self._losses = 0
        self._setting_aside: set[asyncio.Task[None]] = set()

    async def consume(self) -> str:
        """Keep it consumed; after a takeover or a loss ask, wait for answers, dispatch again.

        Returns only when the batch must be dropped here: why.
        """
        fresh = self._core.state is BatchState.PENDING
        seen = 0
        while True:
            if self._channel is None:
                losses = self._losses
                try:
                    if not await self._around.journal.run(claims.still_ours, self._claim):
                        return "another node manages this batch"
                    channel = await self._around.bus.consume_batch(
                        self._claim.batch, self._on_delivery, self._on_lost, priority=self._claim.epoch
                    )
                    if await is_over(self._claim.batch, self._around.journal):
                        await channel.close()
                        return "it has ended"
                except (BusError, JournalError) as error:
                    await self._waiting_for.say(f"RabbitMQ: {error}")
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if self._losses != losses:
                    continue  # Lost again before we knew that we had it.
                self._channel = channel
                self.consumed.set()
                if not fresh or losses > seen:
                    # Each batch has its queue before its tasks are sent: one that had to be made was lost.
                    await self._ask_around(wiped=losses > seen or channel.created)
                fresh, seen = False, losses
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Consume it no more."""
        if self._channel is not None:
            await self._channel.close()

    async def _ask_around(self, *, wiped: bool) -> None:
        self._core.resume()
        self._wake()
        await asyncio.sleep(ANSWER_SECONDS)
        try:
            # The length of a queue is the broker's: there is no event to wait for.
            while self._channel is not None and await self._channel.waiting():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        except BusError:
            return
        self._core.redispatch(wiped=wiped)
        self._wake()

    def _on_lost(self, lost: QueueLost) -> None:
        self._channel = None
        self._losses += 1

    def _on_delivery(self, delivery: Delivery) -> None:
        try:
            message = read(delivery.body)
            if message.batch != self._claim.batch:
                raise MessageError(f"it speaks of batch {message.batch}, in the queue of {self._claim.batch}")
        except MessageError as error:
            task = asyncio.create_task(set_aside(delivery, str(error), self._around.bus))
            self._setting_aside.add(task)
            task.add_done_callback(self._set_aside)
            return
        self._processes.heard(message.process)
        self._core.receive(message, delivery)
        self._wake()

    def _set_aside(self, task: "asyncio.Task[None]") -> None:
        self._setting_aside.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.info("Batch %s: poison could not be set aside, it comes again: %s", self._claim.batch, error)
