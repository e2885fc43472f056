"""``@branch_task``: a Celery task that is one task of a batch."""

from collections.abc import Callable
from typing import Any, Protocol

from celery import Task, shared_task

from coordination.branches import BranchSpec
from coordination.errors import CoordinationError, RequestError

from .execution import Execution
from .ticket import KEY, Ticket, current_branch

__all__ = ["BranchTask", "branch_task", "current_branch"]


class Database(Protocol):
    """What ``customer.database(name)`` returns."""

    name: str
    alias: str


class NotLaunched(CoordinationError):
    """Task {task} is part of a batch: a plan yields it as {short}.branch(…, database=…), and launch(…) starts it.

    To run its body alone, as in a test, call {short}.run("alias", …).
    """


class WrongArguments(RequestError):
    """Task {task} cannot be called so: {problem}"""


class BranchTask(Task):
    """A task that runs as one branch of a batch, and not otherwise."""

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    Request = "coordination.participant.request:BranchRequest"
    # Celery would hold the ticket against the signature of the body. :meth:`branch` checks the author's arguments.
    typing = False

    def branch(self, *args: Any, database: Database, name: str | None = None, **kwargs: Any) -> BranchSpec:
        """This task as a plan yields it: run once, with ``args`` and ``kwargs``, in the customer's ``database``.

        The body's first argument, the alias, is not among them. ``name`` is what people read; else the task's own.
        Raises WrongArguments.
        """
        try:
            self.__header__(database.alias, *args, **kwargs)
        except TypeError as error:
            raise WrongArguments(task=self.name, problem=str(error)) from None
        return BranchSpec(
            task=self.name, name=name or self.name.rpartition(".")[2], database=database.name, alias=database.alias,
            args=args, kwargs=kwargs,
        )  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a branch: this is what the worker calls. Celery's automatic retry is inside, around the body."""
        if KEY not in kwargs:
            raise self._not_launched()
        ticket = Ticket.read(kwargs.pop(KEY))
        return Execution(self, ticket, args, kwargs).run()

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Celery's; refused to everybody but the manager and Celery's own retry."""
        if KEY not in (kwargs or {}):
            raise self._not_launched()
        return super().apply_async(args, kwargs, *rest, **options)

    def _not_launched(self) -> NotLaunched:
        return NotLaunched(task=self.name, short=self.name.rpartition(".")[2])


def branch_task(*args: Any, **options: Any) -> Any:
    """Make a function ``def load(db, …)`` a task of batches. Takes what Celery's ``shared_task`` takes.

    ``db`` is the Django alias of the database the batch gave it; what the body writes through it is committed or
    rolled back with the batch.
    """

    def make(function: Callable[..., Any]) -> Any:
        return shared_task(**{"base": BranchTask, **options})(function)

    return make(args[0]) if args else make
