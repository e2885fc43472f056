"""Where a node's batches wait to be admitted: one look for all of them, however many wait."""

import asyncio
import logging
from uuid import UUID

from coordination.journal.pool import JournalError, JournalPool

from . import admission
from .admission import Applicant, Verdict, Waits
from .capacity import Capacities

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""Between two looks while somebody waits; a newcomer is looked at at once."""
IDLE_SECONDS = 10.0
"""When nobody has come for so long, the connections to the servers are closed."""


class WaitingRoom:
    """Managers come in with an applicant, and get verdicts until they are admitted or leave."""

    def __init__(self, journal: JournalPool) -> None:
        self._journal = journal
        self._waiting: dict[UUID, tuple[Applicant, asyncio.Future[Verdict]]] = {}
        self._capacities = Capacities()
        self._wake = asyncio.Event()

    async def verdict(self, applicant: Applicant) -> Verdict:
        """The next verdict on this batch; ask again after :class:`Waits`."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting[applicant.claim.batch] = (applicant, future)
        self._wake.set()
        try:
            return await future
        finally:
            self._waiting.pop(applicant.claim.batch, None)

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._capacities.hang_up()
                continue
            self._wake.clear()
            now = dict(self._waiting)
            if not now:
                continue
            applicants = [applicant for applicant, _ in now.values()]
            capacities = await self._capacities.look({alias for applicant in applicants for alias in applicant.needs})
            try:
                verdicts = await self._journal.run(admission.admit, applicants, capacities)
            except JournalError as error:
                logger.info("Nothing could be admitted: %s", error)
                await asyncio.sleep(1)
                self._wake.set()
                continue
            for batch, (_, future) in now.items():
                if batch in verdicts and not future.done():
                    future.set_result(verdicts[batch])
            if any(isinstance(v, Waits) for v in verdicts.values()):
                await asyncio.sleep(LOOK_SECONDS)
                self._wake.set()
