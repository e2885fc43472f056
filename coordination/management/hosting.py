"""Hosting: where no managers and workers run by themselves, a command that waits for a batch runs them itself.

``COORDINATION_HOST`` names what does that. Without it, as in every installation with services, nothing here happens.
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from django.utils.module_loading import import_string

from coordination import conf


class Host(Protocol):
    """Runs managers and workers in this process, for as long as no other process does."""

    def alone(self) -> bool:
        """Whether nothing would run a batch, unless this process did."""

    def take(self) -> bool:
        """Run them if nobody does; whether this process now does. Quick to call often."""

    def wake(self) -> None:
        """Have new batches and requests looked for now, if this process runs them."""

    def close(self) -> None:
        """Stop."""


class Nobody:
    """Managers and workers are other processes' business."""

    def alone(self) -> bool:
        return False

    def take(self) -> bool:
        return False

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass


@contextlib.contextmanager
def hosting() -> Iterator[Host]:
    """A host that is not hosting yet, stopped at the end of the block."""
    path = conf.host()
    host: Host = import_string(path)() if path else Nobody()
    try:
        yield host
    finally:
        host.close()
