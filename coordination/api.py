"""The public names. What a user of the product imports is here, and nothing else is promised to stay.

@branch_task                          a Celery task that is one task of a batch
current_branch()                      inside one: its batch, number and name
Plan, BranchSpec                      what a plan is, and what it yields
launch(…), await alaunch(…)           start a batch; returns a LaunchedBatch
batch.wait(…), await batch.outcome(…) wait for its end
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async

from coordination.branches import BranchSpec
from coordination.errors import CoordinationError, KeyReused, NotEnded, RequestError
from coordination.journal import queries
from coordination.journal.launch import Request, outside_transactions, record
from coordination.journal.queries import BatchStatus
from coordination.journal.wake import wake_nodes
from coordination.models import Customer
from coordination.participant.task import branch_task, current_branch
from coordination.plans import Plan
from coordination.protocol.states import BatchState

__all__ = [
    "BatchState",
    "BatchStatus",
    "BranchSpec",
    "CoordinationError",
    "KeyReused",
    "LaunchedBatch",
    "NotEnded",
    "Plan",
    "RequestError",
    "alaunch",
    "branch_task",
    "current_branch",
    "launch",
]


@dataclass(frozen=True)
class LaunchedBatch:
    """A batch that was launched, or found by its idempotency key (``attached``)."""

    id: uuid.UUID
    attached: bool = False

    def status(self) -> BatchStatus:
        """How it stands now."""
        return queries.status(self.id)

    def wait(self, timeout: float | None = None) -> BatchStatus:
        """Wait until it has ended, and return how: ``.committed``, ``.state``, ``.reason``.

        Raises NotEnded (a TimeoutError) after ``timeout`` seconds; the batch goes on. Raises InsideAtomic inside
        atomic(), and JournalUnreachable when the journal has not answered for 30 s.
        """
        outside_transactions()
        for status in queries.watch(self.id, timeout):
            if status.has_ended:
                return status
        raise NotEnded(batch=str(self.id), seconds=timeout)

    async def outcome(self, timeout: float | None = None) -> BatchStatus:
        """:meth:`wait` for asyncio."""
        await sync_to_async(outside_transactions)()
        async for status in queries.awatch(self.id, timeout):
            if status.has_ended:
                return status
        raise NotEnded(batch=str(self.id), seconds=timeout)


def launch(
    customer: Customer | str,
    plan: type[Plan] | str,
    params: Mapping[str, Any] | None = None,
    *,
    label: str = "",
    idempotency_key: str | None = None,
    deadline: timedelta | None = None,
    user: Any = None,
    by: str = "",
    on_committed: Mapping[str, Any] | None = None,
    on_rolled_back: Mapping[str, Any] | None = None,
) -> LaunchedBatch:
    """Start a batch of ``plan`` for ``customer``, and return when it is recorded: from then on it is not forgotten.

    ``params`` are validated by the plan's form. The same ``idempotency_key`` with the same request returns the batch
    that exists. ``deadline`` counts from dispatch; without one the plan's holds. ``user`` and ``by`` say who asks.
    ``on_committed`` and ``on_rolled_back`` are Celery signatures, sent at least once after that end.

    Raises RequestError (nothing was recorded): InsideAtomic, UnknownCustomer, UnknownPlan, BadParameter,
    DatabaseNotGranted, GuaranteeBelowFloor and others. Raises KeyReused if the key belongs to another request, and
    Django's OperationalError or InterfaceError if the journal's database cannot be reached: whether the batch was
    recorded is then unknown, and the same launch with the same key tells.
    """
    launched = record(
        Request(
            customer=customer,
            plan=plan,
            params=params or {},
            label=label,
            key=idempotency_key,
            deadline=deadline,
            user=user,
            by=by,
            on_committed=on_committed,
            on_rolled_back=on_rolled_back,
        )
    )
    async_to_sync(wake_nodes)()
    return LaunchedBatch(launched.id, launched.attached)


async def alaunch(customer: Customer | str, plan: type[Plan] | str, *args: Any, **options: Any) -> LaunchedBatch:
    """:func:`launch` for asyncio, with the same arguments."""
    return await sync_to_async(launch)(customer, plan, *args, **options)
