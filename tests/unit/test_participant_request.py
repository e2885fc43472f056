"""A task's message before it is run: dropped when its batch is over, taken over when it is being run already."""

import json
import time
import uuid
from typing import Any

import kombu
import pytest
from billiard.einfo import ExceptionInfo
from celery import current_app
from celery.worker import state
from kombu.message import Message

from coordination.participant.execution import Dropped
from coordination.participant.request import BranchRequest
from coordination.participant.ticket import KEY, Ticket
from tests.unit.test_participant_task import plain


class Delivery:
    """One delivery of a task's message, on a connection of its own unless told otherwise.

    ``seconds`` are left until its batch's deadline.
    """

    def __init__(
        self, batch: uuid.UUID, *, id: str = "", redelivered: bool = False, again: bool = False, retries: int = 0,
        channel: Any = None, seconds: float = 99,
    ) -> None:  # fmt: skip
        self.said: list[str] = []
        self.channel = channel or kombu.Connection("memory://").channel()
        ticket = Ticket(batch=batch, number=1, of=1, name="t", alias="a", deadline=time.time() + seconds, again=again)
        made = current_app.amqp.as_task_v2(
            id or str(uuid.uuid4()), plain.name, args=("x",), kwargs={KEY: ticket.plain()}, retries=retries
        )  # fmt: skip
        message = Message(
            body=json.dumps(made.body), channel=self.channel, headers=made.headers, content_type="application/json",
            content_encoding="utf-8", delivery_info={"redelivered": redelivered}, properties=made.properties,
        )  # fmt: skip
        self.request = BranchRequest(
            message, app=current_app, task=plain, body=message.body, headers=made.headers,
            on_ack=lambda *a, **k: self.said.append("ack"), on_reject=lambda *a, **k: self.said.append("reject"),
        )  # fmt: skip

    def runs(self) -> "Delivery":
        """A process has begun to run it."""
        state.task_reserved(self.request)
        self.request.on_accepted(1, time.monotonic())
        return self

    def ends(self, error: Exception | None = None) -> None:
        """It has ended, well or with ``error``."""
        if error is None:
            self.request.on_success((False, None, 0.1))
            return
        try:
            raise error
        except Exception:
            self.request.on_success((True, ExceptionInfo(internal=True), 0.1))


def test_what_has_not_begun_is_dropped_once_one_has_found_that_its_batch_is_over() -> None:
    batch, other = uuid.uuid4(), uuid.uuid4()
    assert not Delivery(batch).request.revoked()
    Delivery(batch).runs().ends(Dropped("its batch was over", batch.hex))
    late = Delivery(batch)
    assert late.request.revoked() and late.said == ["ack"]
    assert not Delivery(other).request.revoked()


@pytest.mark.parametrize("how", [{}, {"redelivered": True}, {"again": True}, {"retries": 1}])
def test_after_the_deadline_none_is_run(how: dict[str, Any]) -> None:
    late = Delivery(uuid.uuid4(), seconds=-1, **how)
    assert late.request.revoked() and late.said == ["ack"]


@pytest.mark.parametrize("how", [{"redelivered": True}, {"again": True}, {"retries": 1}])
def test_one_that_may_have_prepared_something_is_run(how: dict[str, Any]) -> None:
    """It asks the database, and speaks for what it finds."""
    batch = uuid.uuid4()
    Delivery(batch).runs().ends(Dropped("its batch was over", batch.hex))
    assert not Delivery(batch, **how).request.revoked()


def test_a_run_takes_the_delivery_over_that_comes_after_a_lost_connection() -> None:
    """It acknowledges that one when it ends, and gives it back if its process dies."""
    batch, id = uuid.uuid4(), str(uuid.uuid4())
    first = Delivery(batch, id=id).runs()
    second, third = (Delivery(batch, id=id, redelivered=True) for _ in range(2))
    assert second.request.revoked() and third.request.revoked()
    assert second.said == third.said == []
    first.ends()
    assert (first.said, second.said, third.said) == ([], [], ["ack"])
    assert not Delivery(batch, id=id, redelivered=True).request.revoked(), "it has ended"


def test_what_is_not_the_same_delivery_is_run() -> None:
    """Another message of the task on the same connection, another try of it, one that nobody runs."""
    batch, id = uuid.uuid4(), str(uuid.uuid4())
    first = Delivery(batch, id=id).runs()
    assert not Delivery(batch, id=id).request.revoked(), "sent a second time"
    assert not Delivery(batch, id=id, redelivered=True, channel=first.channel).request.revoked()
    assert not Delivery(batch, id=id, redelivered=True, retries=1).request.revoked()
    assert not Delivery(batch, redelivered=True).request.revoked()
    first.ends()
