"""The tasks of a batch to be: what the plan yields, checked one by one against the customer's databases."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import InterfaceError, OperationalError

from coordination.branches import BranchSpec
from coordination.errors import (
    ArgumentsNotJson,
    ArgumentsTooLarge,
    CoordinationError,
    DatabaseNotGranted,
    GuaranteeBelowFloor,
    NotATask,
    NothingToDo,
    OneWriter,
    PlanFailed,
    PlanTooSlow,
    TooManyBranches,
)
from coordination.journal.arguments import MAX_BYTES, NotPlain, dump
from coordination.journal.insert import NewBranch
from coordination.models import Customer
from coordination.plans import Plan, plan_name
from coordination.protocol.states import Guarantee
from coordination.resources import registry

logger = logging.getLogger(__name__)

MAX_BRANCHES = 20_000
PLAN_SECONDS = 10.0
MAX_NAME = 200
"""Characters of a task's name."""


def branches_of(plan: type[Plan], customer: Customer, values: dict[str, Any]) -> list[NewBranch]:
    """Run the plan, within its bounds, and check each task. The time is looked at with each task it yields.

    Raises RequestError, naming what is wrong with the plan or a task, and what reading the journal raises.
    """
    name = plan_name(plan)
    databases = _Databases(customer.slug, {database.name: database.alias for database in customer.databases.all()})
    until = time.monotonic() + PLAN_SECONDS
    found: list[NewBranch] = []
    try:
        for spec in plan().branches(customer, values):
            if time.monotonic() > until:
                raise PlanTooSlow(plan=name, seconds=round(PLAN_SECONDS))
            if len(found) == MAX_BRANCHES:
                raise TooManyBranches(plan=name, limit=MAX_BRANCHES)
            if not isinstance(spec, BranchSpec):
                raise NotATask(plan=name, what=_short(spec))
            databases.check(len(found) + 1, spec)
            found.append(_branch(len(found) + 1, spec))
    except (CoordinationError, OperationalError, InterfaceError):
        raise
    except Exception as error:
        logger.info("Plan %s failed while it listed its tasks.", name, exc_info=True)
        raise PlanFailed(plan=name, problem=_short(error)) from error
    if not found:
        raise NothingToDo(plan=name)
    return found


@dataclass
class _Databases:
    """What the customer was granted, and which tasks have the databases that take one writer."""

    customer: str
    granted: Mapping[str, str]
    _writers: dict[str, str] = field(default_factory=dict)
    """The file of each alias that takes one writer; empty for an alias that takes any number."""
    _tasks: dict[str, int] = field(default_factory=dict)

    def check(self, number: int, spec: BranchSpec) -> None:
        """Raises DatabaseNotGranted, AliasNotTwoPhase, EngineCannotPrepare, OneWriter."""
        if self.granted.get(spec.database) != spec.alias:
            name = f"{spec.database} at {spec.alias}" if spec.database in self.granted else spec.database
            raise DatabaseNotGranted(customer=self.customer, name=name, granted=sorted(self.granted) or ["none"])
        if spec.alias not in self._writers:
            registry.kind_of(spec.alias)
            self._writers[spec.alias] = registry.sole_writer(spec.alias)
        file = self._writers[spec.alias]
        if file and (first := self._tasks.setdefault(file, number)) != number:
            raise OneWriter(first=first, second=number, name=f"database {spec.database!r}")


def _branch(number: int, spec: BranchSpec) -> NewBranch:
    try:
        args = dump({"args": spec.args, "kwargs": spec.kwargs})
    except NotPlain as error:
        raise ArgumentsNotJson(number=number, problem=str(error)) from error
    # A character is a byte or more, so most need not be encoded to be measured.
    if len(args) > MAX_BYTES // 4 and (size := len(args.encode())) > MAX_BYTES:
        raise ArgumentsTooLarge(number=number, size=size, limit=MAX_BYTES)
    name = (spec.name or spec.task.rpartition(".")[2])[:MAX_NAME].replace("\x00", "␀")
    return NewBranch(number=number, task=spec.task, name=name, database=spec.database, alias=spec.alias, args=args)


def guarantee_of(customer: Customer, branches: list[NewBranch]) -> Guarantee:
    """The weakest branch's. Raises GuaranteeBelowFloor."""
    guarantee = Guarantee.weakest([registry.guarantee_of(alias) for alias in {b.alias for b in branches}])
    floor = Guarantee(customer.guarantee_floor)
    if Guarantee.weakest([guarantee, floor]) is not floor:
        raise GuaranteeBelowFloor(guarantee=guarantee.words, floor=floor.words, customer=customer.slug)
    return guarantee


def weaker_databases(branches: list[NewBranch]) -> tuple[str, ...]:
    """The customer's names of the databases that keep a batch of these from being crash-safe."""
    names = {b.alias: b.database for b in branches}
    return tuple(sorted(n for alias, n in names.items() if registry.guarantee_of(alias) is not Guarantee.CRASH_SAFE))


def _short(value: object) -> str:
    text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else repr(value)
    return " ".join(text.split())[:200]
