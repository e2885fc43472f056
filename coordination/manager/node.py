"""A node: claims batches, hosts a manager for each, answers strays, cleans up after ended batches.

It looks by itself each second, so a wake-up may be lost; it renews its lease in a task of its own, and when it could
not for ``GIVE_UP_SECONDS`` it drops all it manages before anybody else may take it.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable
from time import monotonic
from uuid import UUID

from coordination import conf
from coordination.bus.choose import node_bus
from coordination.bus.port import BusError, Delivery
from coordination.journal import claims
from coordination.journal.claims import GIVE_UP_SECONDS, LEASE_SECONDS, RENEW_SECONDS, Claim
from coordination.journal.pool import JournalError, JournalPool
from coordination.journal.wake import wake_nodes

from . import cleanup, strays
from .alerts import Alerts
from .batch_manager import BatchManager
from .dispatch import Dispatcher
from .generation import GenerationWatch
from .outside import Outside
from .surroundings import Notify, Surroundings
from .waiting_room import WaitingRoom

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
LEFTOVERS_SECONDS = 0.2
"""What was left to other nodes is looked at again so soon."""
PATIENCE_SECONDS = 1.5
"""What other nodes, which look each second, have not taken by then is shared among all anew."""
HAND_OVER_SECONDS = 0.3
LIVES_SECONDS = 1.5
"""How long the answer to "does this mailbox have a reader?" holds, for all batches."""


class Node:
    """One process's worth of managers."""

    def __init__(self, notify: Notify) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._bus = node_bus(conf.broker_url(), conf.installation())
        self._journal = JournalPool()
        # Hundreds of batches at work must not make the node late with the word that it lives: it would lose them all.
        self._lease = JournalPool(threads=1)
        self._dispatcher = Dispatcher()
        self._waiting_room = WaitingRoom(self._journal)
        self._managed: dict[UUID, tuple[BatchManager, asyncio.Task[None]]] = {}
        self._cleaning: dict[UUID, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._renewed = monotonic()
        self._left_since: float | None = None
        self._lives: dict[str, tuple[float, bool]] = {}
        self._outside = Outside(self._bus, self._dispatcher)
        self._watch = GenerationWatch(self._journal, lambda: bool(self._managed))
        self._around = Surroundings(
            node=self.name, bus=self._bus, journal=self._journal, dispatcher=self._dispatcher,
            waiting_room=self._waiting_room, notify=notify, process_lives=self._process_lives, outside=self._outside,
        )  # fmt: skip

    def wake(self) -> None:
        """Look now instead of within a second."""
        self._wake.set()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Run until cancelled; then hand everything over. ``on_ready`` is called when it has the journal.

        Raises RuntimeError for a journal that is not ours, and whatever a defect in one of its parts raised.
        """
        await self._wait_for_journal()
        on_ready()
        alerts = Alerts(self.name, self._journal).run()
        works = (
            self._renew(), self._connect(), self._tick(), self._waiting_room.run(), self._outside.run(),
            self._watch.run(self._wake.set), alerts,
        )  # fmt: skip
        helpers = [asyncio.create_task(work) for work in works]
        try:
            while True:
                pause = await self._sweep()
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                for helper in helpers:
                    if helper.done():
                        helper.result()  # A defect that ended it ends the node: others manage its batches.
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self._hand_over()

    async def _wait_for_journal(self) -> None:
        while True:
            try:
                problem = await self._journal.run(claims.other_installation)
                await self._lease.run_anyway(claims.heartbeat, self.name, 0)
            except JournalError as error:
                logger.warning("Node %s waits for the journal's database: %s", self.name, error)
                await asyncio.sleep(SWEEP_SECONDS)
                continue
            if problem:
                raise RuntimeError(problem)
            self._renewed = monotonic()
            return

    async def _connect(self) -> None:
        """Connect to the broker, for ever; batches wait for it by themselves, and their deadlines run."""
        said = False
        while True:
            try:
                await self._bus.connect()
                await self._bus.consume_strays(self._on_stray)
                return
            except BusError as error:
                if not said:
                    logger.warning("Node %s waits for RabbitMQ: %s", self.name, error)
                said = True
                await asyncio.sleep(SWEEP_SECONDS)

    async def _on_stray(self, delivery: Delivery) -> None:
        if not self._watch.trusted:
            raise BusError("the journal is not known to be as new as its databases")
        await strays.answer(delivery, self._bus, self._journal)

    async def _renew(self) -> None:
        while True:
            # Looked at before the lease is renewed as well: whoever slept past it, renewing, would hold on to what may
            # be another's by now.
            await self._give_up_if_late(LEASE_SECONDS)
            try:
                standing = await self._lease.run_anyway(claims.heartbeat, self.name, len(self._managed))
                self._renewed = monotonic()
                if await self._watch.hear(standing):
                    await self._drop_all()
            except JournalError as error:
                logger.warning("Node %s could not renew its lease: %s", self.name, error)
            await self._give_up_if_late(GIVE_UP_SECONDS)
            await asyncio.sleep(RENEW_SECONDS)

    async def _give_up_if_late(self, seconds: float) -> None:
        late = monotonic() - self._renewed
        if late > seconds and self._managed:
            logger.error("Node %s could not renew its lease for %.1f s and drops its batches", self.name, late)
            await self._drop_all()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(2)
            self._dispatcher.submit(self._dispatcher.tick)

    async def _sweep(self) -> float:
        """Claim, carry requests in, clean up. Seconds to the next look: few if batches were left to other nodes."""
        self._drop_finished()
        if monotonic() - self._renewed > GIVE_UP_SECONDS or not self._watch.trusted:
            return SWEEP_SECONDS
        try:
            patient = self._left_since is None or monotonic() - self._left_since < PATIENCE_SECONDS
            claimed, left = await self._journal.run(claims.claim, self.name, list(self._managed), patient)
            self._left_since = (self._left_since or monotonic()) if left else None
            for claim in claimed:
                self._manage(claim)
            if self._managed:
                for asked in await self._journal.run(claims.asked, list(self._managed)):
                    if asked.batch in self._managed:
                        self._managed[asked.batch][0].ask(asked)
            busy = [*self._managed, *self._cleaning]
            for batch in await self._journal.run(claims.to_clean, self.name, busy):
                self._clean(batch)
            silent = await self._journal.run(claims.next_lease_to_end, self.name)
        except JournalError as error:
            logger.warning("Node %s could not look for batches: %s", self.name, error)
            return SWEEP_SECONDS
        return min(SWEEP_SECONDS, LEFTOVERS_SECONDS if left else silent or SWEEP_SECONDS)

    def _manage(self, claim: Claim) -> None:
        self._watch.worked()
        manager = BatchManager(claim, self._around)
        task = asyncio.create_task(manager.run(), name=f"batch {claim.batch}")
        self._managed[claim.batch] = (manager, task)
        task.add_done_callback(lambda _: self._ended(manager))

    def _ended(self, manager: BatchManager) -> None:
        self._drop_finished()  # Others may have ended at the same moment, or this one been dropped with them.
        if manager.ended:  # Others are claimed again within a second, not at once: whatever ended them may still hold.
            self._wake.set()

    def _drop_finished(self) -> None:
        for batch, (manager, task) in list(self._managed.items()):
            if task.done():
                del self._managed[batch]
                if not task.cancelled() and (error := task.exception()):
                    logger.error("Batch %s: a defect ended its manager", batch, exc_info=error)
                elif manager.ended:
                    self._clean(batch)

    def _clean(self, batch: UUID) -> None:
        if batch in self._cleaning:
            return
        task = asyncio.create_task(cleanup.clean(batch, self._around), name=f"cleanup {batch}")
        self._cleaning[batch] = task
        task.add_done_callback(lambda _: self._cleaning.pop(batch, None))

    async def _process_lives(self, process: str) -> bool:
        asked, answer = self._lives.get(process, (0.0, True))
        if monotonic() - asked > LIVES_SECONDS:
            answer = await self._bus.mailbox_is_read(process)
            self._lives = {p: (at, a) for p, (at, a) in self._lives.items() if monotonic() - at < LIVES_SECONDS}
            self._lives[process] = (monotonic(), answer)
        return answer

    async def _drop_all(self) -> None:
        tasks = [task for _, task in self._managed.values()] + list(self._cleaning.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._managed.clear()

    async def _hand_over(self) -> None:
        # What takes long is closing hundreds of channels. Their batches need not wait for that: nothing is written any
        # more, and closing the connection closes them all.
        dropping = asyncio.create_task(self._drop_all())
        await asyncio.wait({dropping}, timeout=HAND_OVER_SECONDS)
        try:
            await self._lease.run_anyway(claims.leave, self.name)
            await wake_nodes()
        except JournalError as error:
            logger.warning("Node %s could not say goodbye; its batches are free in some seconds: %s", self.name, error)
        self._dispatcher.close()
        await self._bus.close()
        await asyncio.wait({dropping}, timeout=HAND_OVER_SECONDS)
        self._journal.close()
        self._lease.close()
        logger.info("Node %s has stopped", self.name)
