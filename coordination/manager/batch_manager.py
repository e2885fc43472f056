"""The driver of one coordinator: takes votes in, carries effects out, keeps the time.

One loop a batch. Deliveries go into the core as they come; the loop carries out what the core asks for and stores
what it wants stored, one write at a time: at once if that is urgent, else ``FLUSH_SECONDS`` after the first change.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from uuid import UUID

from coordination import crashpoints
from coordination.bus.port import BatchChannel, BusError, Delivery, NodeBus, QueueLost
from coordination.crashpoints import Point
from coordination.journal import claims, writer
from coordination.journal.claims import Asked, Claim, Loaded
from coordination.journal.pool import JournalError, JournalPool
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
from coordination.protocol.encoding import MessageError, encode
from coordination.protocol.journal_rules import ANSWER_SECONDS, repeat_delay
from coordination.protocol.messages import Decided
from coordination.protocol.states import BATCH_ENDED, BatchState
from coordination.protocol.stored import WriteResult

from .admission import Admitted, Applicant, Never, Waits
from .asked import tell
from .dispatch import Dispatcher
from .outside import LOOK_SECONDS, Outside
from .strays import is_over, read, set_aside
from .waiting_room import WaitingRoom

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.05
SILENT_SECONDS = 5.0
"""A process not heard from for so long is asked after: does its mailbox still have a reader?"""
SAY_SECONDS = 2.0
"""Between two changes of the words that say for what a batch waits."""
RETRY_SECONDS = 1.0

Notify = Callable[[UUID], Awaitable[None]]
"""Tells screens that a batch has changed; may lose it, never raises."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a node lends to each of its managers, and its name."""

    node: str
    bus: NodeBus
    journal: JournalPool
    dispatcher: Dispatcher
    waiting_room: WaitingRoom
    notify: Notify
    process_lives: Callable[[str], Awaitable[bool]]
    outside: Outside


class BatchManager:
    """Manages one claimed batch until it has ended, or is lost to another manager."""

    def __init__(self, claim: Claim, around: Surroundings) -> None:
        self.claim = claim
        self.ended = False
        self._around = around
        self._wake = asyncio.Event()
        self._channel: BatchChannel | None = None
        self._heard: dict[str, float] = {}
        self._dispatches: asyncio.Queue[Dispatch] = asyncio.Queue()
        self._requests: set[int] = set()
        self._timers: dict[Callable[[], None], float] = {}
        self._flush_at: float | None = None
        self._repeats = 0
        self._over = False
        self._asking_from = 0.0
        self._consuming = asyncio.Event()
        self._losses = 0
        self._setting_aside: set[asyncio.Task[None]] = set()

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
        self._core = Coordinator(loaded.snapshot)
        self._deadline = loaded.deadline or 0.0
        self._queue, self._created, self._admitted = loaded.queue, loaded.created, loaded.admitted
        self._set_times(loaded)
        for asked in requests:  # Before anything is sent: it may be that nothing should be.
            self.ask(asked)
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._admit(),
                self._consume(),
                self._dispatching(),
                self._look_after_processes(),
                self._say_what_is_missing(),
            )
        ]
        for task in tasks:
            task.add_done_callback(self._side_ended)
        try:
            await self._loop()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._channel is not None:
                await self._channel.close()

    def ask(self, asked: Asked) -> None:
        """A person asks something of the batch; the answer is stored with what it leads to."""
        if asked.id in self._requests or not hasattr(self, "_core"):
            return
        self._requests.add(asked.id)
        tell(self._core, asked, node=self._around.node)
        if asked.action == OperatorRequest.Action.RETRY:
            self._repeats = 0
            self._at(repeat_delay(0), self._repeat)
        self._wake.set()

    # --- the loop -----------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        while not self._over:
            self._wake.clear()
            await self._carry(self._core.effects())
            if self._over or await self._write():
                continue
            await self._sleep()
            self._run_timers()

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
            self._at(repeat_delay(0), self._repeat)
        await self._around.notify(self.claim.batch)
        return True

    async def _sleep(self) -> None:
        until = [*self._timers.values(), *([self._flush_at] if self._flush_at else [])]
        timeout = max(min(until) - monotonic(), 0) if until else None
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    def _at(self, seconds: float, timer: Callable[[], None]) -> None:
        self._timers[timer] = monotonic() + seconds

    def _run_timers(self) -> None:
        now = monotonic()
        for timer in [t for t, at in self._timers.items() if at <= now]:
            del self._timers[timer]
            timer()

    def _set_times(self, loaded: Loaded) -> None:
        if loaded.snapshot.decision is not None:
            self._at(repeat_delay(0), self._repeat)
        elif loaded.deadline_in is not None:
            self._at(max(loaded.deadline_in, 0), self._core.deadline_passed)
        else:
            self._at(max(loaded.start_in, 0), self._start_by_passed)

    def _start_by_passed(self) -> None:
        if self._core.state is BatchState.PENDING:
            self._core.refuse("It could not be started in the time it was given to wait")

    def _repeat(self) -> None:
        if self._core.unfinished:
            self._core.repeat()
            self._repeats += 1
            self._at(repeat_delay(self._repeats), self._repeat)

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
                    self._at(ANSWER_SECONDS, self._core.holders_silent)
                case StepDown():
                    logger.warning("Batch %s is dropped here: %s", self.claim.batch, effect.why)
                    self._over = True
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

    # --- taking messages in -------------------------------------------------------------------------------------

    def _on_delivery(self, delivery: Delivery) -> None:
        try:
            message = read(delivery.body)
            if message.batch != self.claim.batch:
                raise MessageError(f"it speaks of batch {message.batch}, in the queue of {self.claim.batch}")
        except MessageError as error:
            self._poison(delivery, str(error))
            return
        self._heard[message.process] = monotonic()
        self._core.receive(message, delivery)
        self._wake.set()

    def _poison(self, delivery: Delivery, why: str) -> None:
        task = asyncio.create_task(set_aside(delivery, why, self._around.bus))
        self._setting_aside.add(task)
        task.add_done_callback(self._set_aside)

    def _set_aside(self, task: "asyncio.Task[None]") -> None:
        self._setting_aside.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.info("Batch %s: poison could not be set aside, it comes again: %s", self.claim.batch, error)

    def _on_lost(self, lost: QueueLost) -> None:
        self._channel = None
        self._losses += 1

    async def _consume(self) -> None:
        """Keep the batch's queue consumed; after a takeover or a loss ask, wait for answers, dispatch again."""
        fresh = self._core.state is BatchState.PENDING
        seen = 0
        while not self._over:
            if self._channel is None:
                losses = self._losses
                try:
                    if not await self._around.journal.run(claims.still_ours, self.claim):
                        self._step_down("another node manages this batch")
                        return
                    channel = await self._around.bus.consume_batch(
                        self.claim.batch, self._on_delivery, self._on_lost, priority=self.claim.epoch
                    )
                    if await is_over(self.claim.batch, self._around.journal):
                        await channel.close()
                        self._step_down("it has ended")
                        return
                except (BusError, JournalError) as error:
                    await self._say_waiting(f"RabbitMQ: {error}")
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if self._losses != losses:
                    continue  # Lost again before we knew that we had it.
                self._channel = channel
                self._consuming.set()
                if not fresh or losses > seen:
                    # Each batch has its queue before its tasks are sent: one that had to be made was lost.
                    await self._ask_around(wiped=losses > seen or channel.created)
                fresh, seen = False, losses
            await asyncio.sleep(0.2)

    async def _ask_around(self, *, wiped: bool) -> None:
        self._core.resume()
        self._wake.set()
        await asyncio.sleep(ANSWER_SECONDS)
        try:
            # The length of a queue is the broker's: there is no event to wait for.
            while self._channel is not None and await self._channel.waiting():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        except BusError:
            return
        self._core.redispatch(wiped=wiped)
        self._wake.set()

    async def _say_waiting(self, words: str) -> None:
        if self._core.state is BatchState.PENDING:
            try:
                await self._around.journal.run(writer.wait_for, self.claim.batch, self.claim.epoch, words[:500])
            except JournalError:
                return
            await self._around.notify(self.claim.batch)

    async def _say_what_is_missing(self) -> None:
        """Say what holds the batch up outside, once it is dispatched: the broker, or a queue that nobody reads."""
        outside, dispatcher = self._around.outside, self._around.dispatcher
        queues: list[str] = []
        said: tuple[BatchState, str] | None = None
        while not self._over:
            await asyncio.sleep(LOOK_SECONDS)
            state = self._core.state
            if state is BatchState.PENDING:
                continue  # Admission says what it waits for.
            try:
                words = outside.broker()
                if not words and self._core.waits_for_workers:
                    queues = queues or await asyncio.wrap_future(
                        dispatcher.submit(dispatcher.queues, self.claim.batch, self._queue)
                    )
                    words = await outside.unread(queues)
                # A change of state takes the words back; so does nobody after a takeover.
                if (words or said or self.claim.epoch > 1) and (state, words) != said:
                    await self._around.journal.run(writer.wait_for, self.claim.batch, self.claim.epoch, words)
                    await self._around.notify(self.claim.batch)
                    said = state, words
            except JournalError as error:
                logger.info("Batch %s: what it waits for could not be said: %s", self.claim.batch, error)

    def _step_down(self, why: str) -> None:
        logger.warning("Batch %s is dropped here: %s", self.claim.batch, why)
        self._over = True
        self._wake.set()

    def _side_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            logger.error("Batch %s: a defect ended its manager", self.claim.batch, exc_info=error)
            self._over = True
        self._wake.set()

    # --- admission and dispatch ---------------------------------------------------------------------------------

    async def _admit(self) -> None:
        await self._consuming.wait()
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
                    self._timers.pop(self._start_by_passed, None)
                    self._deadline = verdict.deadline
                    self._at(verdict.deadline_in, self._core.deadline_passed)
                    self._core.admit()
                    self._wake.set()
                    return
                case Never() as never:
                    self._core.refuse(never.reason)
                    self._wake.set()
                    return
                case Waits() as waits if monotonic() - said >= SAY_SECONDS:
                    said = monotonic()
                    await self._say_waiting(waits.words)

    async def _dispatching(self) -> None:
        again = False
        while True:
            effect = await self._dispatches.get()
            while self._core.decision is None:
                send = partial(
                    self._around.dispatcher.publish, self.claim.batch, effect.branches, of=len(self._core.branches),
                    queue=self._queue, deadline=self._deadline, again=effect.again or again,
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

    async def _look_after_processes(self) -> None:
        """Whoever runs our tasks and is silent: does its mailbox still have a reader?"""
        while not self._over:
            await asyncio.sleep(ANSWER_SECONDS)
            now = monotonic()
            for process in self._core.running_on():
                if now - self._heard.setdefault(process, now) < SILENT_SECONDS:
                    continue
                try:
                    lives = await self._around.process_lives(process)
                except BusError:
                    break
                if not lives:
                    self._heard.pop(process, None)
                    self._core.process_gone(process)
                    self._wake.set()
