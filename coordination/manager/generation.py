"""Keeps the databases' copies of the journal's generation, and finds out that they know a later one.

Then the journal was restored from a backup that is older than they are. A node that finds this out says so in the
journal, where every other node sees it within a second: none of them works until a person releases it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import monotonic

from coordination import conf
from coordination.journal import generation
from coordination.journal.generation import RAISE_SECONDS, Standing
from coordination.journal.pool import JournalError, JournalPool
from coordination.resources import marks, registry
from coordination.resources.base import ResourceError

from .asker import Asker

logger = logging.getLogger(__name__)
attention = logging.getLogger("coordination.attention")

ANSWER_SECONDS = 1.0
"""How long the databases' answers are waited for; a generation that is read later counts with the next look."""
LOOK_SECONDS = 1.0
REMIND_SECONDS = 60.0


class GenerationWatch:
    """A node's own; its methods belong to the node's event loop."""

    def __init__(self, journal: JournalPool, busy: Callable[[], bool]) -> None:
        """``busy`` tells whether the node manages batches now: only then is there anything to be marked."""
        self.trusted = False
        """The journal is not older than its databases, as far as anyone knows: the node may work."""
        self._journal = journal
        self._busy = busy
        self._owed = False
        self._looked = False
        self._reminded = -REMIND_SECONDS
        self._unread = set(registry.aliases())
        self._asker = Asker[str, None]("coordination-mark")
        self._read: dict[str, int] = {}
        """What databases have told, in time or late, and was not looked at yet."""
        self._failing: dict[str, str] = {}
        self._waited = -REMIND_SECONDS

    def worked(self) -> None:
        """The node has begun to manage a batch: the databases are to know that, however soon it ends."""
        self._owed = True

    async def run(self, on_trusted: Callable[[], None]) -> None:
        """Compare journal and databases, then mark them as time goes by. For ever."""
        while True:
            try:
                if not self._looked or self._unread:
                    await self._compare()
                    if self.trusted:
                        on_trusted()
                if self.trusted and (self._owed or self._busy()):
                    self._owed = self._busy() or not await self._mark(RAISE_SECONDS)
            except JournalError as error:
                logger.info("The journal's generation could not be looked at: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def hear(self, standing: Standing) -> bool:
        """What the journal says of itself now. True: the node must drop all it does. Raises JournalError."""
        while max(standing.generation, standing.needed) < self._journal.least:
            # It was another one a moment ago.
            await self._journal.run_anyway(generation.found_later, self._journal.least)
            # Asked again: what was said may be older than what somebody else has heard meanwhile.
            standing = await self._journal.run_anyway(generation.standing)
        self._journal.least = max(standing.generation, standing.needed)
        was, self.trusted = self.trusted, self._looked and not standing.behind
        if standing.behind:
            self._remind(standing)
        elif self.trusted and not was:
            self._reminded = -REMIND_SECONDS
            await self._mark(0)
        return was and not self.trusted

    def _remind(self, standing: Standing) -> None:
        if monotonic() - self._reminded < REMIND_SECONDS:
            return
        self._reminded = monotonic()
        attention.error(
            "The journal is older than its databases (its generation is %s, theirs %s): it was restored from a backup."
            " No batch is managed until somebody has looked at it: manage.py release_journal",
            standing.generation, standing.needed,
        )  # fmt: skip

    async def _compare(self) -> None:
        """Ask the databases that were not asked yet. Until one has answered, nothing is known."""
        await self._ask(self._unread - self._read.keys(), self._read_from)
        answers = {alias: self._read.pop(alias) for alias in list(self._read)}
        self._say_waited(self._unread - answers.keys())
        if self._unread and not answers and not self._looked:
            return
        self._unread -= answers.keys()
        if answers:
            await self._journal.run_anyway(generation.found_later, max(answers.values()))
        self._looked = True
        await self.hear(await self._journal.run_anyway(generation.standing))

    def _read_from(self, alias: str) -> None:
        self._read[alias] = marks.read(alias, conf.installation())

    def _say_waited(self, aliases: Iterable[str]) -> None:
        if (names := ", ".join(sorted(aliases))) and monotonic() - self._waited >= REMIND_SECONDS:
            self._waited = monotonic()
            logger.warning("Databases have not told yet how old the journal is, and are waited for: %s", names)

    async def _mark(self, every: float) -> bool:
        """Raise the generation if no node has for so long, and tell the databases. False if it was not raised."""
        raised: int | None = await self._journal.run(generation.raise_generation, every)
        if raised is None:
            return False
        latest = raised
        await self._ask(registry.aliases(), lambda alias: marks.write(alias, conf.installation(), latest))
        return True

    async def _ask(self, aliases: Iterable[str], question: Callable[[str], None]) -> None:
        """Ask ``question`` of each, and wait for those that answer soon. It may raise: it is asked again then."""

        def ask(alias: str) -> None:
            problem = ""
            try:
                question(alias)
            except ResourceError as error:
                problem = str(error)
            except Exception as error:  # Whatever it is, the database is to be asked again.
                problem = f"{alias}: {type(error).__name__}: {error}"
            if problem and self._failing.get(alias) != problem:
                logger.warning("A database cannot tell, nor be told, how old the journal is: %s", problem)
            self._failing[alias] = problem

        await self._asker.ask(aliases, ask, ANSWER_SECONDS)
