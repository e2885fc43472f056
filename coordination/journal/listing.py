"""The tasks of a batch to be: what the plan yields, checked one by one against the customer's databases."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from django.db import InterfaceError, OperationalError

from coordination import conf
from coordination.branches import BranchSpec
from coordination.errors import (
    AliasNotTwoPhase,
    ArgumentsNotJson,
    ArgumentsTooLarge,
    CoordinationError,
    DatabaseNotGranted,
    GuaranteeBelowFloor,
    NotATask,
    NothingToDo,
    PlanFailed,
    PlanTooSlow,
    TooManyBranches,
)
from coordination.journal.arguments import MAX_BYTES, NotPlain, dump
from coordination.journal.insert import NewBranch
from coordination.models import Customer
from coordination.plans import Plan, plan_name
from coordination.protocol.states import Guarantee

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
    granted = {database.name: database.alias for database in customer.databases.all()}
    two_phase = {alias: options.get("two_phase", "require") for alias, options in conf.databases().items()}
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
            found.append(_branch(len(found) + 1, spec, customer, granted, two_phase))
    except (CoordinationError, OperationalError, InterfaceError):
        raise
    except Exception as error:
        logger.info("Plan %s failed while it listed its tasks.", name, exc_info=True)
        raise PlanFailed(plan=name, problem=_short(error)) from error
    if not found:
        raise NothingToDo(plan=name)
    return found


def _branch(
    number: int, spec: BranchSpec, customer: Customer, granted: Mapping[str, str], two_phase: Mapping[str, Any]
) -> NewBranch:
    if granted.get(spec.database) != spec.alias:
        name = f"{spec.database} at {spec.alias}" if spec.database in granted else spec.database
        raise DatabaseNotGranted(customer=customer.slug, name=name, granted=sorted(granted) or ["none"])
    if two_phase.get(spec.alias) != "require":
        raise AliasNotTwoPhase(alias=spec.alias)
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
    """The weakest branch's. Raises GuaranteeBelowFloor.

    Two-phase is all there is so far: :func:`_branch` refuses everything else.
    """
    guarantee = Guarantee.weakest([Guarantee.CRASH_SAFE for _ in {b.alias for b in branches}])
    floor = Guarantee(customer.guarantee_floor)
    if Guarantee.weakest([guarantee, floor]) is not floor:
        raise GuaranteeBelowFloor(guarantee=guarantee.words, floor=floor.words, customer=customer.slug)
    return guarantee


def _short(value: object) -> str:
    text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else repr(value)
    return " ".join(text.split())[:200]
