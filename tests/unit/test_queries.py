"""Reading the journal, waiting on it, and asking something of a batch."""

import threading
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import connections, transaction
from django.utils import timezone

from coordination.errors import JournalUnreachable, UnknownBatch
from coordination.journal import queries, requests
from coordination.models import Batch, Customer, Membership, Node, OperatorRequest
from tests.services import PostgreSQL

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def batch() -> Batch:
    return make("acme")


def make(slug: str) -> Batch:
    """A batch that is recorded and goes nowhere."""
    customer = Customer.objects.create(slug=slug, name=slug)
    return Batch.objects.create(
        customer=customer,
        plan="loads",
        tasks=1,
        guarantee="crash_safe",
        counts={"PENDING": 1},
        start_by=timezone.now(),
        deadline_seconds=60,
    )


def end(batch: Batch) -> None:
    Batch.objects.filter(pk=batch.pk).update(state="COMMITTED", decision="COMMIT", counts={"COMMITTED": 1})


def in_a_thread(work: Any) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_batch_is_found_only_by_those_who_may_see_it(batch: Batch) -> None:
    other = make("globex")
    ana = get_user_model().objects.create_user("ana")
    Membership.objects.create(user=ana, customer=batch.customer)
    admin = get_user_model().objects.create_superuser("admin")
    assert queries.find(batch.pk, user=ana) == batch
    assert queries.find(str(other.pk), user=admin) == other == queries.find(other.pk)
    messages = set()
    for user, hidden in ((ana, other.pk), (AnonymousUser(), batch.pk), (ana, uuid.uuid4())):
        with pytest.raises(UnknownBatch) as caught:
            queries.find(hidden, user=user)
        messages.add(str(caught.value).replace(str(hidden), "…"))
    assert len(messages) == 1


def test_waiting_sees_the_end_soon(batch: Batch) -> None:
    ended_at: list[float] = []

    def work() -> None:
        time.sleep(0.4)
        end(batch)
        ended_at.append(time.monotonic())

    thread = in_a_thread(work)
    seen = list(queries.watch(batch.pk, 20))
    noticed = time.monotonic()
    thread.join(10)
    assert seen[-1].committed and not seen[0].has_ended
    assert noticed - ended_at[0] < 0.2
    assert 5 < len(seen) < 40


def test_waiting_ends_with_its_timeout(batch: Batch) -> None:
    started = time.monotonic()
    seen = list(queries.watch(batch.pk, 0.3))
    assert 0.3 <= time.monotonic() - started < 0.6
    assert not seen[-1].has_ended
    assert len(list(queries.watch(batch.pk, 0))) == 1


async def test_waiting_in_an_event_loop(batch: Batch) -> None:
    thread = in_a_thread(lambda: (time.sleep(0.2), end(batch)))
    seen = [status async for status in queries.awatch(batch.pk, 20)]
    assert seen[-1].committed
    thread.join(10)
    await sync_to_async(connections.close_all)()


def test_waiting_for_nothing() -> None:
    with pytest.raises(UnknownBatch):
        list(queries.watch(uuid.uuid4()))


def test_a_short_absence_of_the_journal_is_waited_out(batch: Batch, postgres: PostgreSQL) -> None:
    watching = queries.watch(batch.pk, 20)
    assert not next(watching).has_ended
    postgres.stop()
    thread = in_a_thread(lambda: (time.sleep(0.5), postgres.start(), end(batch)))
    assert list(watching)[-1].committed
    thread.join(30)


def test_a_long_one_is_told(batch: Batch, postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "UNREACHABLE_SECONDS", 0.5)
    watching = queries.watch(batch.pk)
    next(watching)
    postgres.stop()
    try:
        with pytest.raises(JournalUnreachable):
            list(watching)
    finally:
        postgres.start()


def test_nodes_are_heard_of_by_the_databases_clock() -> None:
    assert not queries.nodes_heard_of()
    Node.objects.create(name="node", heartbeat=timezone.now() - timedelta(seconds=60))
    assert not queries.nodes_heard_of()
    Node.objects.create(name="other", heartbeat=timezone.now())
    assert queries.nodes_heard_of()


def test_a_request_is_recorded_with_who_and_why(batch: Batch) -> None:
    ana = get_user_model().objects.create_user("ana")
    made = requests.cancel(batch.pk, by="ana", who=ana, why="wrong \x00 files")
    request = OperatorRequest.objects.get()
    assert made == request
    assert (request.batch, request.action, request.by, request.who) == (batch, "cancel", "ana", ana)
    assert (request.why, request.handled, request.result) == ("wrong ␀ files", None, "")


def test_a_request_to_a_batch_that_has_ended_is_answered_at_once(batch: Batch) -> None:
    end(batch)
    request = requests.cancel(batch.pk, by="ana")
    assert request.handled is not None and request.result == "Too late: the batch had already ended COMMITTED"
    with pytest.raises(UnknownBatch):
        requests.cancel(uuid.uuid4(), by="ana")


def test_a_request_waits_for_the_write_that_ends_its_batch(batch: Batch) -> None:
    """Else it would be recorded after the manager has looked for the last time, and never be answered."""
    locked, made = threading.Event(), []

    def manager() -> None:
        with transaction.atomic():
            end(batch)
            locked.set()
            time.sleep(0.3)

    thread = in_a_thread(manager)
    assert locked.wait(10)
    made.append(requests.cancel(batch.pk, by="ana"))
    thread.join(10)
    assert made[0].result.startswith("Too late")
