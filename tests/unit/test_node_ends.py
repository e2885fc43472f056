"""A node whose managers end at the same moment."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from coordination.journal.claims import Claim
from coordination.manager import node as node_module
from coordination.manager.node import Node


class Brief:
    """Where a manager would be: its batch is over at once, though not cleanly, so that nothing has to be cleaned."""

    ended = False

    def __init__(self, *args: Any) -> None:
        pass

    async def run(self) -> None:
        return


async def _nobody(batch: Any) -> None:
    return


async def test_managers_that_end_together_are_each_dropped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: wrong.append(context))
    monkeypatch.setattr(node_module, "BatchManager", Brief)
    node = Node(_nobody)
    for _ in range(3):
        node._manage(Claim(batch=uuid4(), epoch=1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert node._managed == {}
    assert wrong == []
