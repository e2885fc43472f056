"""What a plan yields: one :class:`BranchSpec` for each task of the batch to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BranchSpec:
    """One task of a batch that is not launched yet.

    ``task`` is Celery's name of the task, ``name`` what people call it, ``database`` the customer's name of its
    database and ``alias`` Django's; ``args`` and ``kwargs`` are the author's, without the alias.
    """

    task: str
    name: str
    database: str
    alias: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
