"""The live view's server side: frames that fit, the sentence, and the socket with real PostgreSQL behind it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import CookieMiddleware
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import Client
from django.utils import timezone

from coordination.live import consumers
from coordination.live.frames import NOTHING, Head, Picture, Update, answer
from coordination.live.reading import read
from coordination.live.routing import websocket_urlpatterns
from coordination.live.viewer import WINDOW, Bye, Viewer
from coordination.live.why import Facts, why
from coordination.models import Batch, Branch, Customer, Membership, OperatorRequest
from coordination.protocol.states import BatchState, BranchState
from tests.services import PostgreSQL

TASKS = 60  # so many that a change of one is said in less than the whole

PENDING = Head(state="PENDING", decision=None, counts={".": 3}, why="")
ACTIVE = Head(state="ACTIVE", decision=None, counts={"r": 1, ".": 2}, why="")


def update(since: int, seq: int, changed: list[tuple[int, str]], head: Head = ACTIVE, tasks: int = TASKS) -> Update:
    return Update(since=since, seq=seq, tasks=tasks, head=head, changed=changed)


# --- frames ---------------------------------------------------------------------------------------------------------


def test_a_picture_takes_only_what_begins_where_it_stands() -> None:
    picture = Picture(update(NOTHING, 4, [(1, "r")]))
    assert json.loads(picture.snap())["states"] == "r" + "." * 59
    with pytest.raises(ValueError, match="does not fit"):
        picture.apply(update(3, 5, [(2, "r")]))
    with pytest.raises(ValueError, match="does not fit"):
        picture.apply(update(4, 5, [], tasks=61))
    assert picture.apply(update(4, 4, [])) is None
    frame = json.loads(picture.apply(update(4, 6, [(2, "x")])) or "")
    assert (frame["t"], frame["from"], frame["to"], frame["c"]) == ("delta", 4, 6, [[2, "x"]])
    assert json.loads(picture.snap())["states"] == "rx" + "." * 58


def test_a_delta_that_would_be_longer_than_a_snapshot_is_sent_as_one() -> None:
    picture = Picture(update(NOTHING, 0, [(n, ".") for n in range(1, 101)], PENDING, tasks=100))
    frame = json.loads(picture.apply(update(0, 1, [(n, "r") for n in range(1, 101)], tasks=100)) or "")
    assert (frame["t"], frame["states"]) == ("snap", "r" * 100)


def test_a_poll_is_answered_with_what_it_lacks() -> None:
    assert json.loads(answer(update(NOTHING, 4, [])))["t"] == "snap"
    assert json.loads(answer(update(3, 4, [(1, "r")])))["t"] == "delta"


# --- a viewer's place -----------------------------------------------------------------------------------------------


async def test_a_viewer_that_falls_behind_gets_a_snapshot_instead_of_what_it_missed() -> None:
    viewer = Viewer(lambda: 0.0)
    viewer.offer("what happened before its hello")
    viewer.offer_snapshot("first")
    assert await viewer.next() == "first"
    for number in range(WINDOW + 2):
        viewer.offer(f"frame {number}")
    assert viewer.wants_snapshot
    viewer.answered()
    viewer.offer_snapshot("snapshot")
    assert await viewer.next() == "snapshot"


async def test_a_viewer_that_answers_nothing_is_sent_no_more_than_the_window() -> None:
    now = 0.0
    viewer = Viewer(lambda: now)
    viewer.offer_snapshot("first")
    sent = [await viewer.next()]
    for number in range(WINDOW - 1):
        viewer.offer(f"frame {number}")
        sent.append(await viewer.next())
    viewer.offer("one more")
    viewer.offer_snapshot("snapshot")
    assert len(sent) == WINDOW and not viewer.has_room
    now = 31.0
    assert viewer.silent_seconds == 31.0


async def test_a_viewer_is_let_go_whatever_waits_for_it() -> None:
    viewer = Viewer(lambda: 0.0)
    viewer.offer_snapshot("first")
    viewer.leave(Bye.NOT_FOUND)
    with pytest.raises(Exception, match="4404"):
        await viewer.next()


# --- the sentence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state, counts, more, sentence",
    [
        ("PENDING", {}, {}, "Waiting for a manager."),
        ("PENDING", {}, {"waiting_for": "RabbitMQ: no connection"}, "Waiting for RabbitMQ: no connection."),
        (
            "ACTIVE",
            {"PREPARED": 1},
            {"queue": "acme"},
            "Waiting for 2 of 3 tasks to vote; none is running: waiting for a worker on queue acme.",
        ),
        (
            "ACTIVE",
            {"RUNNING": 1},
            {"oldest": (2, datetime(2026, 1, 1, 9, 5, tzinfo=UTC))},
            "Waiting for 3 of 3 tasks to vote; task 2 has been running since 09:05:00 UTC.",
        ),
        (
            "ACTIVE",
            {"PENDING": 3},
            {"queue": "acme", "waiting_for": "a worker: nobody reads queue acme"},
            "Waiting for 3 of 3 tasks to vote, and for a worker: nobody reads queue acme.",
        ),
        ("ACTIVE", {"PREPARED": 3}, {}, "All 3 tasks are prepared; the decision is being stored."),
        ("COMMITTING", {"PREPARED": 1}, {}, "1 of 3 tasks still to be committed in their databases."),
        (
            "COMMITTING",
            {"PREPARED": 1},
            {"waiting_for": "RabbitMQ: it cannot be reached"},
            "1 of 3 tasks still to be committed in their databases. Waiting for RabbitMQ: it cannot be reached.",
        ),
        ("ROLLED_BACK", {}, {"reason": "Task 2 of 3 failed: no"}, "Task 2 of 3 failed: no."),
        (
            "MIXED",
            {"COMMITTED": 2, "LOST": 1},
            {},
            "1 task ended against the decision, or nobody can tell how: 2 applied, 1 unknown.",
        ),
    ],
)
def test_why(state: str, counts: dict[str, int], more: dict[str, Any], sentence: str) -> None:
    known = {BranchState(name): count for name, count in counts.items()}
    assert why(Facts(state=BatchState(state), tasks=3, counts=known, **more)) == sentence


# --- the socket -----------------------------------------------------------------------------------------------------


@pytest.fixture
def batch(readers_rest: None) -> Iterator[Batch]:
    customer = Customer.objects.create(slug="acme", name="Acme")
    batch = Batch.objects.create(
        customer=customer,
        plan="loads",
        tasks=TASKS,
        guarantee="crash_safe",
        counts={"PENDING": TASKS},
        start_by=timezone.now(),
        deadline_seconds=60,
    )
    Branch.objects.bulk_create(
        Branch(batch=batch, number=number, task="load", name="load", database="ledger", alias="demo_ledger")
        for number in range(1, TASKS + 1)
    )
    yield batch
    connections.close_all()  # a test may have ended them


def cookie_of(username: str, member_of: Customer | None = None) -> str:
    user = get_user_model().objects.create_user(username)
    if member_of is not None:
        Membership.objects.create(user=user, customer=member_of)
    client = Client()
    client.force_login(user)
    cookies: SimpleCookie = client.cookies
    return f"sessionid={cookies['sessionid'].value}"


def socket(batch: UUID, cookie: str = "", origin: str = "http://localhost") -> WebsocketCommunicator:
    """A browser's socket, through what the site wraps its addresses in."""
    application = AllowedHostsOriginValidator(CookieMiddleware(URLRouter(websocket_urlpatterns)))
    headers = [(b"origin", origin.encode()), (b"host", b"localhost"), (b"cookie", cookie.encode())]
    return WebsocketCommunicator(application, f"/ws/batch/{batch}/", headers)


async def frame(browser: WebsocketCommunicator) -> Any:
    """The next frame that is not a heartbeat, answered as a browser answers it."""
    while True:
        got = json.loads(await browser.receive_from(timeout=10))
        await browser.send_to(json.dumps({"t": "have", "seq": got.get("seq", got.get("to"))}))
        if got["t"] != "hb":
            return got


async def refusal_of(browser: WebsocketCommunicator) -> list[int]:
    """The codes of the last frame and of the closing."""
    connected, _ = await browser.connect(timeout=10)
    assert connected
    said = json.loads(await browser.receive_from(timeout=10))
    closed = await browser.receive_output(timeout=10)
    assert (said["t"], closed["type"]) == ("bye", "websocket.close")
    return [said["code"], closed["code"]]


def change(batch: Batch, seq: int, number: int, branch_state: str, **fields: Any) -> None:
    Branch.objects.filter(batch=batch, number=number).update(state=branch_state, seq=seq)
    Batch.objects.filter(pk=batch.pk).update(seq=seq, **fields)


async def test_anonymous_and_outsiders_are_told_by_the_closing_code(batch: Batch) -> None:
    outsider = await sync_to_async(cookie_of)("outsider")
    assert await refusal_of(socket(batch.pk)) == [4401, 4401]
    assert await refusal_of(socket(batch.pk, outsider)) == [4404, 4404]
    member = await sync_to_async(cookie_of)("ana", batch.customer)
    assert await refusal_of(socket(uuid4(), member)) == [4404, 4404]
    await sync_to_async(connections.close_all)()


async def test_a_foreign_origin_is_refused_at_the_handshake(batch: Batch) -> None:
    member = await sync_to_async(cookie_of)("ana", batch.customer)
    connected, _ = await socket(batch.pk, member, origin="https://evil.example").connect(timeout=10)
    assert not connected
    await sync_to_async(connections.close_all)()


async def test_a_member_gets_the_whole_and_then_what_changes(batch: Batch) -> None:
    browser = socket(batch.pk, await sync_to_async(cookie_of)("ana", batch.customer))
    assert (await browser.connect(timeout=10))[0]
    await browser.send_to(json.dumps({"t": "hello", "batch": str(batch.pk), "have": -1}))
    whole = await frame(browser)
    assert (whole["t"], whole["seq"], whole["states"], whole["state"]) == ("snap", 0, "." * TASKS, "PENDING")
    await sync_to_async(change)(batch, 3, 2, "RUNNING", state="ACTIVE", counts={"PENDING": 59, "RUNNING": 1})
    delta = await frame(browser)
    assert (delta["t"], delta["from"], delta["to"], delta["c"]) == ("delta", 0, 3, [[2, "r"]])
    assert (delta["state"], delta["counts"]) == ("ACTIVE", {".": 59, "r": 1})
    await sync_to_async(OperatorRequest.objects.create)(batch=batch, action="cancel", by="ana")
    assert "Cancel asked by ana at " in (await frame(browser))["asked"]
    await browser.disconnect()
    await sync_to_async(connections.close_all)()


async def test_who_loses_the_membership_loses_the_socket(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "PERMISSION_SECONDS", 0.2)
    browser = socket(batch.pk, await sync_to_async(cookie_of)("ana", batch.customer))
    assert (await browser.connect(timeout=10))[0]
    await browser.send_to(json.dumps({"t": "hello", "batch": str(batch.pk), "have": -1}))
    assert (await frame(browser))["t"] == "snap"
    await sync_to_async(Membership.objects.all().delete)()
    assert await frame(browser) == {"t": "bye", "code": 4404}
    await browser.disconnect()
    await sync_to_async(connections.close_all)()


async def test_a_journal_that_was_away_is_followed_again(batch: Batch, postgres: PostgreSQL) -> None:
    browser = socket(batch.pk, await sync_to_async(cookie_of)("ana", batch.customer))
    assert (await browser.connect(timeout=10))[0]
    await browser.send_to(json.dumps({"t": "hello", "batch": str(batch.pk), "have": -1}))
    assert (await frame(browser))["t"] == "snap"
    await sync_to_async(postgres.stop)("immediate")
    assert await browser.receive_nothing(timeout=2)
    await sync_to_async(postgres.start)()
    await sync_to_async(connections.close_all)()
    await sync_to_async(change)(batch, 1, 1, "RUNNING", state="ACTIVE")
    assert (await frame(browser))["c"] == [[1, "r"]]
    await browser.disconnect()
    await sync_to_async(connections.close_all)()


async def test_while_the_journal_is_away_a_browser_is_told_to_try_later(batch: Batch, postgres: PostgreSQL) -> None:
    member = await sync_to_async(cookie_of)("ana", batch.customer)
    await sync_to_async(postgres.stop)("immediate")
    try:
        assert await refusal_of(socket(batch.pk, member)) == [consumers.TRY_LATER, consumers.TRY_LATER]
    finally:
        await sync_to_async(postgres.start)()
        await sync_to_async(connections.close_all)()


async def test_a_browser_that_says_too_much_is_let_go(batch: Batch) -> None:
    browser = socket(batch.pk, await sync_to_async(cookie_of)("ana", batch.customer))
    assert (await browser.connect(timeout=10))[0]
    await browser.send_to("x" * (consumers.MAX_MESSAGE + 1))
    assert (await browser.receive_output(timeout=10))["code"] == consumers.TOO_LARGE
    await browser.disconnect()
    await sync_to_async(connections.close_all)()


# --- reading --------------------------------------------------------------------------------------------------------


def test_reading_brings_what_changed_since(batch: Batch) -> None:
    change(batch, 5, 2, "FAILED", state="ROLLED_BACK", decision="ROLLBACK", reason="no", counts={"FAILED": 1})
    whole, later, before = read(batch.pk, NOTHING), read(batch.pk, 4), read(batch.pk, 9)
    assert whole is not None and later is not None and before is not None
    assert sorted(whole.changed)[:3] == [(1, "."), (2, "x"), (3, ".")] == sorted(before.changed)[:3]
    assert (later.changed, later.head.why, later.head.ended) == ([(2, "x")], "no.", True)
    assert before.since == NOTHING
    assert read(uuid4(), NOTHING) is None
