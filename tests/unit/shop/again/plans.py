"""A plan called like the demo's."""

from collections.abc import Iterator
from typing import Any

from coordination.branches import BranchSpec
from coordination.plans import Plan


class Other(Plan):
    """Never launched."""

    name = "demo"

    def branches(self, customer: Any, params: dict[str, Any]) -> Iterator[BranchSpec]:
        yield from ()
