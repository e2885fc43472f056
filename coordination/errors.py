"""Errors people meet. A class's docstring is its message, and says how to mend it; ``{names}`` are filled in."""

from typing import Any


class CoordinationError(Exception):
    """Something went wrong in coordination."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        text = " ".join((type(self).__doc__ or "").split())
        super().__init__(text.format(**{k: ", ".join(v) if isinstance(v, list) else v for k, v in values.items()}))

    def __reduce__(self) -> tuple[Any, ...]:
        # Celery shows an error of a task under its own name only if it survives pickling.
        return _made, (type(self), self.values)


def _made(kind: type[CoordinationError], values: dict[str, Any]) -> CoordinationError:
    return kind(**values)


class RequestError(CoordinationError):
    """The request is wrong; nothing was recorded, and asking the same again will not help."""


class DatabaseNotGranted(RequestError):
    """Customer {customer} has no database {name!r}; it has: {granted}. Grant it in the admin, or correct the plan."""


class UnknownCustomer(RequestError):
    """There is no customer {slug!r}; there are: {known}."""


class UnknownPlan(RequestError):
    """There is no plan {name!r}; there are: {known}. A plan is found in plans.py of an installed app."""


class PlanClash(RequestError):
    """Two plans are called {name!r}: {one} and {other}. Give one of them another `name`."""


class BadPlanName(RequestError):
    """{plan} cannot be called {name!r}: give it a `name` of lower-case letters, digits, "_", "." and "-"."""


class NotATask(RequestError):
    """Plan {plan} yielded {what}, which is no task: yield `some_task.branch(…, database=customer.database("…"))`."""


class PlanFailed(RequestError):
    """Plan {plan} failed while it listed its tasks: {problem}"""


class BadParameter(RequestError):
    """Parameter {name}: {problem}"""


class BadParameters(RequestError):
    """The parameters cannot be read: {problem}"""


class BadRequest(RequestError):
    """{name} cannot be {value}: {problem}"""


class NothingToDo(RequestError):
    """Plan {plan} yields no task for these parameters; a batch needs at least one."""


class TooManyBranches(RequestError):
    """Plan {plan} yields more than {limit:,} tasks; split the load into several batches."""


class PlanTooSlow(RequestError):
    """Plan {plan} took longer than {seconds} s to list its tasks; do slow work in the tasks, not in the plan."""


class ArgumentsTooLarge(RequestError):
    """Arguments of task {number} are {size:,} bytes of JSON, over {limit:,}: store the data and pass its name."""


class ArgumentsNotJson(RequestError):
    """Arguments of task {number} are not plain JSON: {problem}"""


class GuaranteeBelowFloor(RequestError):
    """This batch would be "{guarantee}", weaker than "{floor}", which customer {customer} requires."""


class AliasNotTwoPhase(RequestError):
    """Database {alias!r} is not in COORDINATION_DATABASES; add it with {{"two_phase": "require"}}."""


class EngineCannotPrepare(RequestError):
    """Database {alias!r} ({engine}) cannot prepare a transaction. Give the task a PostgreSQL database; or, if it will
    do that its work is lost when a worker process dies, set {{"two_phase": "hold"}} for it in COORDINATION_DATABASES.
    """


class OneWriter(RequestError):
    """Tasks {first} and {second} of this batch both write to {name}, which takes one writer at a time: one would wait
    for the other, and that for the decision. Let one task do the work of both, or make it two batches."""


class InsideAtomic(RequestError):
    """Inside transaction.atomic() (here of database {alias!r}) a batch can neither be launched, because it would run
    although that block may yet be rolled back, nor waited for. Do it after the block; a view under ATOMIC_REQUESTS
    needs @transaction.non_atomic_requests."""


class UnknownBatch(RequestError):
    """There is no batch {id}; a batch's id is the UUID that its launch printed."""


class NotDecided(RequestError):
    """Batch {batch} is not decided, so there is nothing to resolve: cancel it, or wait for its deadline."""


class NotMixed(RequestError):
    """Batch {batch} is {state}: only what ended mixed can be marked as put right."""


class NothingUnfinished(RequestError):
    """Only tasks that still wait for their database can be declared; these do not: {tasks}."""


class RequestKeyReused(RequestError):
    """This key was already used to ask something else of batch {batch} ({before}), which stands; nothing was recorded.
    See the batch's page, and ask anew from there if more is needed."""


class JournalNotBehind(RequestError):
    """The journal (generation {generation}) is not older than its databases: there is nothing to release."""


class KeyReused(CoordinationError):
    """Idempotency key {key!r} belongs to batch {batch} of {customer}, which was another request."""


class JournalUnreachable(CoordinationError):
    """The journal's database cannot be reached ({problem}), so the outcome is unknown."""


class NotEnded(CoordinationError, TimeoutError):
    """Batch {batch} has not ended within {seconds:g} s; it goes on."""
