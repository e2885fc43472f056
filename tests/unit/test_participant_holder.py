"""Looking after what is held: a database that does not answer holds up no other, nor the hold limit."""

import threading
import uuid
from collections.abc import Callable
from typing import Any, cast

import pytest

from coordination import conf
from coordination.participant import holder as module
from coordination.participant.holder import Holder
from coordination.participant.publisher import Publisher
from coordination.protocol.holdings import Holdings
from coordination.protocol.messages import VoteItem, WithdrawnItem
from coordination.protocol.states import Decision, Kind
from coordination.resources.held import HeldResource
from tests.services import wait_until


class Hanging(HeldResource):
    """A database whose connections answer to nothing, until the test lets them."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.looks = 0

    def look(self, gid: str) -> str:
        self.looks += 1
        self.may.wait(10)
        return ""

    def take(self, gid: str) -> Callable[[], None] | None:
        return None


class Said:
    def __init__(self) -> None:
        self.items: list[WithdrawnItem] = []

    def withdrawn(self, batch: uuid.UUID, item: WithdrawnItem) -> None:
        self.items.append(item)


def test_the_hold_limit_is_kept_while_a_look_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "hold_limit", lambda: 0.4)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    holdings, said, resource = Holdings("worker-1"), Said(), Hanging()
    item: Any = VoteItem(vote=Decision.COMMIT, gid="gid1", members=(1,), round=1, alias="a", kind=Kind.HELD)
    holdings.voted(uuid.uuid4(), item)
    holder = Holder(threading.Lock(), holdings, cast(Publisher, said), lambda _: resource, lambda: False)
    holder.start()
    try:
        wait_until(lambda: bool(said.items), 5)
        assert resource.looks == 1 and "cut off from the broker" in said.items[0].reason
    finally:
        resource.may.set()
        holder._stopping.set()
