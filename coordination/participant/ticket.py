"""What the manager writes on a branch's Celery message, and what a running body may know of it."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from coordination.errors import CoordinationError

KEY = "coordination"
"""The keyword argument the ticket travels in, so that Celery's retry carries it on."""


class NotInABranch(CoordinationError):
    """There is no current branch here: current_branch() is for the body of a @branch_task that a batch runs."""


class BadTicket(CoordinationError):
    """The message of this task is not one a manager sends ({problem}); its worker may be older than its manager."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One branch's message. ``deadline`` is the batch's, in seconds since 1970; ``again``: it was sent before."""

    batch: UUID
    number: int
    of: int
    name: str
    alias: str
    deadline: float
    again: bool = False

    def plain(self) -> dict[str, Any]:
        """As it goes into the message."""
        return {**asdict(self), "batch": self.batch.hex}

    @classmethod
    def read(cls, value: Any) -> "Ticket":
        """The ticket in a message. Raises BadTicket."""
        if not isinstance(value, Mapping):
            raise BadTicket(problem="it has no ticket")
        try:
            return cls(
                batch=UUID(hex=value["batch"]), number=int(value["number"]), of=int(value["of"]),
                name=str(value["name"]), alias=str(value["alias"]), deadline=float(value["deadline"]),
                again=bool(value["again"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadTicket(problem=f"{type(error).__name__}: {error}") from None


_running: ContextVar[Ticket] = ContextVar("coordination_branch")


def current_branch() -> Ticket:
    """The branch whose body this is: ``.batch`` (UUID), ``.number`` of ``.of``, ``.name``, ``.alias``, ``.deadline``.

    Raises NotInABranch elsewhere, such as in a thread that the body started.
    """
    try:
        return _running.get()
    except LookupError:
        raise NotInABranch() from None


class running:
    """Makes ``ticket`` the current branch of the ``with`` block."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket

    def __enter__(self) -> None:
        self._token = _running.set(self._ticket)

    def __exit__(self, *exc_info: object) -> None:
        _running.reset(self._token)
