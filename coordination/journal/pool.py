"""Threads in which a node's units of work on the journal run: the async ORM is serial, plain functions are not."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections

from .generation import standing

Result = TypeVar("Result")


class JournalError(Exception):
    """The journal's database did not answer, or said no: whether the unit of work took effect is unknown."""


class JournalPool:
    """A few threads, each with a journal connection of its own that it keeps."""

    def __init__(self, threads: int = 4) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="journal")
        self._asked = threading.local()
        self.least = 0
        """A journal whose generation is below this one is not worked with: it was restored from a backup."""

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """``work(*args)`` in one of the threads. Raises JournalError for whatever a database says."""
        return await self.run_anyway(self._if_not_older, work, *args)

    async def run_anyway(self, work: Callable[..., Result], *args: Any) -> Result:
        """As :meth:`run`, also with a journal older than :attr:`least`: for what finds that out."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, in_this_thread, work, *args)

    def _if_not_older(self, work: Callable[..., Result], *args: Any) -> Result:
        """Each connection is asked once: a journal cannot be replaced under one that stands."""
        connection = connections[DEFAULT_DB_ALIAS]
        connection.ensure_connection()
        if getattr(self._asked, "connection", None) is not connection.connection:
            if (found := standing().generation) < self.least:
                raise JournalError(f"it is older than its databases (its generation is {found}, not {self.least})")
            self._asked.connection = connection.connection
        return work(*args)

    def close(self) -> None:
        """End the threads when their work is done. Does not wait."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def in_this_thread(work: Callable[..., Result], *args: Any) -> Result:
    """``work(*args)`` on this thread's journal connection. Raises JournalError for whatever a database says."""
    try:
        return work(*args)
    except (DatabaseError, InterfaceError) as error:
        # A connection in an unknown state is not used again; Django opens another when one is needed.
        connections[DEFAULT_DB_ALIAS].close()
        raise JournalError(f"{type(error).__name__}: {error}") from error
