"""The pages of customers: what comes first, what a card says, finding past batches, and the frames."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

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

from coordination.models import Batch, Customer, JournalEntry, Membership, Node, Role
from coordination.protocol.states import BatchState, BranchState
from coordination.web import cards
from coordination.web.routing import websocket_urlpatterns

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("readers_rest")]


def batch(slug: str, state: str = "COMMITTED", *, ago: float = 60, **fields: Any) -> Batch:
    """One of ``slug``, launched ``ago`` seconds before now; it took two seconds if it has ended."""
    customer, _ = Customer.objects.get_or_create(slug=slug, defaults={"name": slug.capitalize()})
    created = timezone.now() - timedelta(seconds=ago)
    ended = state in ("COMMITTED", "ROLLED_BACK", "MIXED")
    defaults = {"tasks": 10, "counts": {state if ended and state != "MIXED" else "PENDING": 10}, "plan": "loads"}
    decided = created + timedelta(seconds=1) if ended or state in ("COMMITTING", "ROLLING_BACK") else None
    made = Batch.objects.create(
        customer=customer,
        state=state,
        guarantee="crash_safe",
        start_by=created,
        deadline_seconds=60,
        dispatched=created,
        decided=decided,
        ended=created + timedelta(seconds=2) if ended else None,
        **{**defaults, **fields},
    )
    Batch.objects.filter(pk=made.pk).update(created=created)
    return made


@pytest.fixture
def viewer() -> Callable[..., Client]:
    """A browser of somebody with that role for the named customers."""

    def client_of(*slugs: str, role: str = Role.VIEWER) -> Client:
        user = get_user_model().objects.create_user(f"{role}{get_user_model().objects.count()}")
        for slug in slugs:
            customer, _ = Customer.objects.get_or_create(slug=slug, defaults={"name": slug.capitalize()})
            Membership.objects.create(user=user, customer=customer, role=role)
        client = Client(headers={"host": "localhost"})
        client.force_login(user)
        return client

    return client_of


def text(page: str) -> str:
    """What the page says, without markup."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def keys(client: Client, address: str = "/state") -> list[str]:
    return [key for key, _ in client.get(address).json()["parts"]]


# --- the cards ------------------------------------------------------------------------------------------------------


def test_attention_comes_first_then_what_runs_then_the_rest(viewer: Callable[..., Client]) -> None:
    Node.objects.create(name="n1", heartbeat=timezone.now())
    batch("calm")
    batch("busy", "ACTIVE")
    batch("wrong", "MIXED", label="Quarter")
    client = viewer("idle", "calm", "busy", "wrong")
    batch("other")
    assert keys(client) == ["wrong", "busy", "calm", "idle"]
    page = client.get("/").content.decode()
    assert re.findall(r'data-part="(\w+)"', page) == ["wrong", "busy", "calm", "idle"]
    said = text(page)
    assert "Quarter ended mixed: not all of its tasks ended as decided." in said
    assert "manage.py launch_batch idle PLAN" in said and "Other" not in said
    assert "<title>⚠ 1 · Customers</title>" in page


def test_a_card_says_how_its_current_batch_stands(viewer: Callable[..., Client]) -> None:
    Node.objects.create(name="n1", heartbeat=timezone.now())
    for number in range(25):
        batch("acme", "ROLLED_BACK" if number % 5 == 0 else "COMMITTED", ago=1000 - number)
    batch("acme", "PENDING", waiting_for="300 prepared slots on crm, 210 are free", label="Second")
    counts = {"PREPARED": 6, "RUNNING": 2, "PENDING": 2}
    batch("acme", "ACTIVE", ago=30, counts=counts, label="First")
    page = viewer("acme").get("/").content.decode()
    said = text(page)
    assert "Running First 6 of 10 tasks ready" in said and "and 1 more open" in said
    assert "Last decision: committed" in said and "Last 20 outcomes: 16 committed, 4 rolled back" in said
    assert re.findall(r'<rect data-state="(\w+)" x="([\d.]+)" width="([\d.]+)"', page)[:3] == [
        ("PREPARED", "0.0", "60.0"),
        ("RUNNING", "60.0", "20.0"),
        ("PENDING", "80.0", "20.0"),
    ]
    sparks = re.search(r'<svg class="sparks".*?</svg>', page)
    assert sparks and sparks[0].count("<rect") == 20 and " style=" not in page


@pytest.mark.parametrize(
    "state, fields, said",
    [
        ("ACTIVE", {"deadline": timezone.now() - timedelta(minutes=1)}, "Load is past its deadline and not decided."),
        ("COMMITTING", {}, "Load is decided, but not finished in every database yet."),
        ("ACTIVE", {}, ""),
    ],
)
def test_what_of_an_open_batch_needs_attention(
    viewer: Callable[..., Client], state: str, fields: dict[str, Any], said: str
) -> None:
    Node.objects.create(name="n1", heartbeat=timezone.now())
    batch("acme", state, label="Load", ago=90, **fields)
    client = viewer("acme")
    for address in ("/", "/c/acme/"):
        page = client.get(address).content.decode()
        assert (said in text(page)) and ('class="alarms"' in page) == bool(said)
    Node.objects.update(heartbeat=timezone.now() - timedelta(seconds=30))
    for address in ("/", "/c/acme/"):
        assert "No manager has been heard of for 10 s" in text(client.get(address).content.decode())


def test_a_bar_shows_even_one_of_many() -> None:
    parts = cards.bar({BranchState.COMMITTED: 9_999, BranchState.FAILED: 1})
    assert [part.state for part in parts] == ["COMMITTED", "FAILED"]
    assert 0.9 < parts[1].width < 1.1 and abs(sum(part.width for part in parts) - 100) < 0.1
    for state in BatchState:
        assert cards.progress(state, 1, {})


def test_the_cards_take_a_handful_of_queries(
    viewer: Callable[..., Client], django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    slugs = [f"c{number}" for number in range(12)]
    for slug in slugs:
        batch(slug)
        batch(slug, "ACTIVE")
    client = viewer(*slugs)
    with django_assert_max_num_queries(9):  # two of them for the session, three for the link to what needs attention
        assert client.get("/").status_code == 200


# --- one customer ---------------------------------------------------------------------------------------------------


def found(client: Client, query: str = "") -> list[str]:
    page = client.get(f"/c/acme/{query}").content.decode()
    return re.findall(r'<th scope="row" class="name"><a [^>]*>([^<]*)</a>', page)


def test_past_batches_are_found_by_outcome_label_key_and_id(viewer: Callable[..., Client]) -> None:
    one = batch("acme", label="Prices, May", ago=30)
    batch("acme", "ROLLED_BACK", label="Prices, June", key="june-2", ago=20, reason="Task 3 failed: KeyError: 'x'")
    batch("acme", "MIXED", label="Stock", ago=10)
    batch("acme", "ACTIVE", label="Prices, now", ago=5)
    batch("globex", label="Prices, elsewhere")
    client = viewer("acme")
    assert found(client) == ["Stock", "Prices, June", "Prices, May"]
    assert found(client, "?outcome=rolled_back") == ["Prices, June"]
    assert found(client, "?outcome=active") == found(client, "?page=none") == found(client)
    assert found(client, "?q=prices") == ["Prices, June", "Prices, May"]
    assert found(client, "?q=JUNE-2") == ["Prices, June"]
    assert found(client, f"?q={str(one.pk)[:8]}") == ["Prices, May"]
    assert found(client, "?q=prices&outcome=mixed") == [] == found(client, "?q=%00nothing%25")
    page = text(client.get("/c/acme/").content.decode())
    assert "Task 3 failed: KeyError: 'x'." in page and "2.0 s" in page
    assert "No past batch is like that. Show all" in text(client.get("/c/acme/?q=nothing").content.decode())


def test_a_password_in_an_address_is_not_shown(viewer: Callable[..., Client]) -> None:
    batch("acme", "ROLLED_BACK", reason="Task 1 failed: OSError: amqp://me:hunter2@host/ is away")
    page = viewer("acme").get("/c/acme/").content.decode()
    assert "Task 1 failed: OSError: amqp://me:" in page and "hunter2" not in page


def test_past_batches_say_who_launched_them(viewer: Callable[..., Client]) -> None:
    olga = get_user_model().objects.create_user("olga")
    batch("acme", created_by=olga)
    JournalEntry.objects.create(batch=batch("acme"), text="Launched by cron on load1: plan loads, 10 tasks")
    page = text(viewer("acme").get("/c/acme/").content.decode())
    assert "olga" in page and "cron on load1" in page


def test_past_batches_come_page_by_page(viewer: Callable[..., Client]) -> None:
    for number in range(30):
        batch("acme", ago=number, label=f"Load {number}")
    client = viewer("acme")
    assert found(client)[0] == "Load 0" and len(found(client)) == 25
    assert found(client, "?page=2") == [f"Load {number}" for number in range(25, 30)]
    assert 'rel="next"' in client.get("/c/acme/").content.decode()
    last = client.get("/c/acme/?page=2&q=load").content.decode()
    assert 'rel="next"' not in last and "q=load&amp;page=1" in last


def test_only_operators_are_offered_to_start_one(viewer: Callable[..., Client]) -> None:
    assert "/c/acme/new/" not in viewer("acme").get("/c/acme/").content.decode()
    assert "/c/acme/new/" in viewer("acme", role=Role.OPERATOR).get("/c/acme/").content.decode()


# --- live -----------------------------------------------------------------------------------------------------------


def test_who_polls_gets_the_parts_and_then_only_what_is_new(viewer: Callable[..., Client]) -> None:
    Node.objects.create(name="n1", heartbeat=timezone.now())
    running = batch("acme", "ACTIVE", label="Load")
    client = viewer("acme")
    for address, key in (("/state", "acme"), ("/c/acme/state", str(running.pk))):
        whole = client.get(address).json()
        assert whole["t"] == "snap" and [one for one, _ in whole["parts"]] == [key]
        later = client.get(f"{address}?since={whole['seq']}").json()
        assert later == {"t": "delta", "from": whole["seq"], "to": whole["seq"]}
        for wrong in ("x", "-2", "1" * 17, "²"):
            assert client.get(f"{address}?since={wrong}").status_code == 400
        assert Client(headers={"host": "localhost"}).get(address).status_code == 401
    assert client.get("/c/globex/state").status_code == 404


async def next_frame(socket: WebsocketCommunicator) -> Any:
    while True:
        frame = json.loads(await socket.receive_from(timeout=10))
        await socket.send_to(json.dumps({"t": "have", "seq": frame.get("seq")}))
        if frame["t"] != "hb":
            return frame


@pytest.mark.parametrize("path", ["/ws/customers/", "/ws/customer/acme/"])
async def test_a_batch_that_is_launched_and_ends_is_seen(viewer: Callable[..., Client], path: str) -> None:
    client = await sync_to_async(viewer)("acme")
    application = AllowedHostsOriginValidator(CookieMiddleware(URLRouter(websocket_urlpatterns)))
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    headers = [(b"origin", b"http://localhost"), (b"host", b"localhost"), (b"cookie", cookie)]
    socket = WebsocketCommunicator(application, path, headers)
    assert (await socket.connect(timeout=10))[0]
    await socket.send_to(json.dumps({"t": "hello", "have": -1}))
    assert "Load" not in json.dumps((await next_frame(socket))["parts"])
    running = await sync_to_async(batch)("acme", "ACTIVE", label="Load")
    assert "Load" in json.dumps((await next_frame(socket))["parts"])
    await sync_to_async(Batch.objects.filter(pk=running.pk).update)(state="COMMITTED", ended=timezone.now())
    over = await next_frame(socket)
    if path == "/ws/customer/acme/":
        assert over["parts"] == [] and over["ended"] == str(running.pk)
        assert over["said"] == "Load: Committed – all of it is applied"
    else:
        assert "Last outcome: committed" in over["parts"][0][1]
    await socket.disconnect()
    await sync_to_async(connections.close_all)()


@pytest.mark.parametrize("path, code", [("/ws/customers/", 4401), ("/ws/customer/acme/", 4401)])
async def test_sockets_send_anonymous_visitors_away(path: str, code: int) -> None:
    application = CookieMiddleware(URLRouter(websocket_urlpatterns))
    socket = WebsocketCommunicator(application, path, [(b"host", b"localhost")])
    assert (await socket.connect(timeout=10))[0]
    assert json.loads(await socket.receive_from(timeout=10)) == {"t": "bye", "code": code}
    assert (await socket.receive_output(timeout=10))["code"] == code
    await sync_to_async(connections.close_all)()
