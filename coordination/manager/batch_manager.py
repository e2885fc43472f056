"""The driver of one coordinator: carries effects out, keeps the time.

One loop a batch. What is heard goes into the core as it comes; the loop carries out what the core asks for and stores
what it wants stored, one write at a time: at once if that is urgent, else ``FLUSH_SECONDS`` after the first change.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable
from functools import partial
from time import monotonic

from coordination import crashpoints
from coordination.bus.port import BusError, Delivery
from coordination.crashpoints import Point
from coordination.journal import claims, writer
from coordination.journal.claims import Asked, Claim, Loaded
from coordination.journal.pool import JournalError
from coordination.models import OperatorRequest
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.effects import (
    Acknowledge,
    AwaitHolders,
    Dispatch,
    Effect,
    Ended,
    Recover,
    StepDown,
    Tell,
    TellAll,
)
from coordination.protocol.encoding import encode
from coordination.protocol.journal_rules import ANSWER_SECONDS, repeat_delay
from coordination.protocol.messages import Decided
from coordination.protocol.states import BATCH_ENDED, BatchState
from coordination.protocol.stored import WriteResult

from .admission import Admitted, Applicant, Never, Waits
from .asked import tell
from .batch_queue import BatchQueue
from .processes import Processes
from .surroundings import Surroundings
from .timers import Timers
from .waiting_for import WaitingFor

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.1
SAY_SECONDS = 2.0
"""Between two changes of the words that say for what a batch waits."""
RETRY_SECONDS = 1.0


class BatchManager:
    """Manages one claimed batch until it has ended, or is lost to another manager."""

    def __init__(self, claim: Claim, around: Surroundings) -> None:
        self.claim = claim
        self.ended = False
        self._around = around
        self._wake = asyncio.Event()
        self._dispatches: asyncio.Queue[Dispatch] = asyncio.Queue()
        self._requests: set[int] = set()
        self._timers = Timers()
        self._flush_at: float | None = None
        self._repeats = 0
        self._over = False

    async def run(self) -> None:
        """Manage the batch. Returns when it has ended (``ended``) or must be claimed again; logs why."""
        try:
            loaded = await self._around.journal.run(claims.load, self.claim)
            requests = await self._around.journal.run(claims.asked, [self.claim.batch])
        except JournalError as error:
            logger.warning("Batch %s could not be read: %s", self.claim.batch, error)
            return
        if loaded is None:
            return
        core = self._core = Coordinator(loaded.snapshot)
        processes = Processes(core, self._around.process_lives, self._wake.set)
        self._waiting_for = WaitingFor(self.claim, core, self._around)
        self._queue = BatchQueue(
            self.claim, core, self._around, processes=processes, waiting_for=self._waiting_for, wake=self._wake.set
        )
        self._deadline = loaded.deadline or 0.0
        self._workers, self._created, self._admitted = loaded.queue, loaded.created, loaded.admitted
        self._set_times(loaded)
        for asked in requests:  # Before anything is sent: it may be that nothing should be.
            self.ask(asked)
        works = (
            self._admit(), self._consume(), self._dispatching(), processes.look_after(),
            self._waiting_for.follow(loaded.queue),
        )  # fmt: skip
        tasks = [asyncio.create_task(work) for work in works]
        for task in tasks:
            task.add_done_callback(self._side_ended)
        try:
            await self._loop()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._queue.close()

    def ask(self, asked: Asked) -> None:
        """A person asks something of the batch; the answer is stored with what it leads to."""
        if asked.id in self._requests or not hasattr(self, "_core"):
            return
        self._requests.add(asked.id)
        tell(self._core, asked, node=self._around.node)
        if asked.action == OperatorRequest.Action.RETRY:
            self._repeats = 0
            self._timers.set(self._repeat, repeat_delay(0))
        self._wake.set()

    # --- the loop -----------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        while not self._over:
            self._wake.clear()
            await self._carry(self._core.effects())
            if self._over or await self._write():
                continue
            await self._sleep()
            self._timers.run()

    async def _write(self) -> bool:
        """Store what the core wants stored, if it is time; True if something was."""
        core = self._core
        if not core.writable:
            self._flush_at = None
            return False
        if self._flush_at is None:
            self._flush_at = monotonic() + FLUSH_SECONDS
        if not core.urgent and monotonic() < self._flush_at:
            return False
        write = core.next_write()
        if write is None:
            return False
        self._flush_at = None
        if write.decision is not None:
            crashpoints.reach(Point.DECIDING)
        if write.state in BATCH_ENDED:
            crashpoints.reach(Point.ENDING)
        try:
            result = await self._around.journal.run(
                writer.store, self.claim.batch, self.claim.epoch, write, core.counts()
            )
        except JournalError as error:
            logger.warning("Batch %s: the journal did not answer (%s)", self.claim.batch, error)
            result = WriteResult.UNKNOWN
        core.written(result)
        if any(change.sent for change in write.branches.values()):
            crashpoints.reach(Point.CHUNK_STORED)
        if write.state in BATCH_ENDED:
            crashpoints.reach(Point.ENDED)
        if write.decision is not None and result is WriteResult.STORED:
            crashpoints.reach(Point.DECIDED)
            logger.info("Batch %s decided %s: %s", self.claim.batch, write.decision, write.reason)
            self._timers.set(self._repeat, repeat_delay(0))
        await self._around.notify(self.claim.batch)
        return True

    async def _sleep(self) -> None:
        until = min((at for at in (self._timers.next, self._flush_at) if at is not None), default=None)
        timeout = max(until - monotonic(), 0) if until is not None else None
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    def _set_times(self, loaded: Loaded) -> None:
        if loaded.snapshot.decision is not None:
            self._timers.set(self._repeat, repeat_delay(0))
        elif loaded.deadline_in is not None:
            self._timers.set(self._core.deadline_passed, max(loaded.deadline_in, 0))
        else:
            self._timers.set(self._start_by_passed, max(loaded.start_in, 0))

    def _start_by_passed(self) -> None:
        if self._core.state is BatchState.PENDING:
            self._core.refuse("It could not be started in the time it was given to wait")

    def _repeat(self) -> None:
        if self._core.unfinished:
            self._core.repeat()
            self._repeats += 1
            self._timers.set(self._repeat, repeat_delay(self._repeats))

    # --- effects ------------------------------------------------------------------------------------------------

    async def _carry(self, effects: list[Effect]) -> None:
        sends: list[Awaitable[object]] = []
        receipts: list[Delivery] = []
        for effect in effects:
            match effect:
                case Tell():
                    sends.append(self._tell(effect))
                case TellAll():
                    sends.append(self._around.bus.tell_all(encode(effect.message)))
                case Recover():
                    sends.append(self._around.bus.recover(effect.alias, encode(effect.message)))
                case Acknowledge():
                    receipts.extend(effect.receipts)
                case Dispatch():
                    self._dispatches.put_nowait(effect)
                case AwaitHolders():
                    self._timers.set(self._core.holders_silent, ANSWER_SECONDS)
                case StepDown():
                    self._drop(effect.why)
                case Ended():
                    self.ended = self._over = True
        if sends:
            results = await asyncio.gather(*sends, return_exceptions=True)
            for error in results:
                if isinstance(error, BusError):
                    # Whatever was to be said is said again: by repeat, by the sweep, by inquire.
                    logger.info("Batch %s: something could not be said yet: %s", self.claim.batch, error)
                elif isinstance(error, BaseException):
                    raise error
        if receipts:
            crashpoints.reach(Point.VOTES_STORED)
        for receipt in receipts:
            await receipt.acknowledge()

    async def _tell(self, effect: Tell) -> None:
        await self._around.bus.tell(effect.process, encode(effect.message))
        if isinstance(effect.message, Decided):
            crashpoints.reach(Point.TOLD_ONE)

    # --- what runs beside the loop ------------------------------------------------------------------------------

    async def _consume(self) -> None:
        self._drop(await self._queue.consume())

    def _drop(self, why: str) -> None:
        logger.warning("Batch %s is dropped here: %s", self.claim.batch, why)
        self._over = True
        self._wake.set()

    def _side_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            logger.error("Batch %s: a defect ended its manager", self.claim.batch, exc_info=error)
            self._over = True
        self._wake.set()

    async def _admit(self) -> None:
        await self._queue.consumed.wait()
        if self._admitted:
            self._core.admit()
            self._wake.set()
            return
        branches = self._core.branches.values()
        needs = Counter(b.alias for b in branches)
        applicant = Applicant(claim=self.claim, needs=needs, order=self._created)
        said = -SAY_SECONDS
        while self._core.state is BatchState.PENDING and not self._over:
            match await self._around.waiting_room.verdict(applicant):
                case Admitted() as verdict:
                    self._timers.drop(self._start_by_passed)
                    self._deadline = verdict.deadline
                    self._timers.set(self._core.deadline_passed, verdict.deadline_in)
                    self._core.admit()
                    self._wake.set()
                    return
                case Never() as never:
                    self._core.refuse(never.reason)
                    self._wake.set()
                    return
                case Waits() as waits if monotonic() - said >= SAY_SECONDS:
                    said = monotonic()
                    await self._waiting_for.say(waits.words)

    async def _dispatching(self) -> None:
        again = False
        while True:
            effect = await self._dispatches.get()
            while self._core.decision is None:
                send = partial(
                    self._around.dispatcher.publish, self.claim.batch, effect.branches, of=len(self._core.branches),
                    queue=self._workers, deadline=self._deadline, again=effect.again or again,
                )  # fmt: skip
                try:
                    await asyncio.wrap_future(self._around.dispatcher.submit(send))
                except (BusError, JournalError) as error:
                    # Some may have arrived: from now on they are sent as ones that may be second ones.
                    again = True
                    logger.info("Batch %s: tasks could not be sent yet: %s", self.claim.batch, error)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                crashpoints.reach(Point.CHUNK_SENT)
                self._core.sent(effect.branches)
                self._wake.set()
                break
