"""Who gets what: every address of the site, every socket and every view of the admin, as each kind of person.

The addresses are taken from the URL conf, so that one that is not listed here fails the test.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connections
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from django_celery_results.models import GroupResult, TaskResult

from coordination.models import Batch, Branch, Customer, JournalEntry, Membership, Node, Role
from coordination.web.routing import websocket_urlpatterns

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("readers_rest")]

PEOPLE = ("anonymous", "outsider", "viewer", "operator")
SAFE = (405, 405, 405, 405)

# What each kind of PEOPLE gets for GET, and for POST.
PAGES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "coordination:customers": ((302, 200, 200, 200), SAFE),
    "coordination:customers_state": ((401, 200, 200, 200), SAFE),
    "coordination:attention": ((302, 200, 200, 200), SAFE),
    "coordination:attention_state": ((401, 200, 200, 200), SAFE),
    "coordination:customer": ((302, 404, 200, 200), SAFE),
    "coordination:customer_state": ((401, 404, 200, 200), SAFE),
    "coordination:new": ((302, 404, 403, 200), (302, 404, 403, 200)),
    "coordination:batch": ((302, 404, 200, 200), SAFE),
    "coordination:part": ((401, 404, 200, 200), SAFE),
    "coordination:state": ((401, 404, 200, 200), SAFE),
    "coordination:cancel": (SAFE, (302, 404, 403, 302)),
    "coordination:relaunch": (SAFE, (302, 404, 403, 400)),  # 400: there is no such plan in these tests
    "coordination:declare": ((302, 404, 403, 403), (302, 404, 403, 403)),  # for approvers: test_web_declare.py
    "coordination:retry": (SAFE, (302, 404, 403, 400)),  # 400: it is not decided
    "coordination:settle": (SAFE, (302, 404, 403, 403)),
    "coordination:livez": ((200, 200, 200, 200), SAFE),
    "coordination:readyz": ((503, 503, 503, 503), SAFE),  # nothing but the journal runs for these tests
    "coordination:states": ((200, 200, 200, 200), SAFE),
    "login": ((200, 302, 302, 302), (200, 302, 302, 302)),
    "logout": (SAFE, (302, 302, 302, 302)),
    "favicon": ((301, 301, 301, 301), (301, 301, 301, 301)),
}


@pytest.fixture
def acme() -> Batch:
    """A batch of acme with one task; globex has nothing."""
    customer = Customer.objects.create(slug="acme", name="Acme")
    Customer.objects.create(slug="globex", name="Globex")
    batch = Batch.objects.create(
        customer=customer,
        plan="loads",
        tasks=1,
        guarantee="crash_safe",
        counts={"PENDING": 1},
        start_by=timezone.now(),
        deadline_seconds=60,
    )
    Branch.objects.create(batch=batch, number=1, task="load", name="load", database="ledger", alias="demo_ledger")
    JournalEntry.objects.create(batch=batch, text="Launched by olga: plan loads, 1 task")
    return batch


def client_of(who: str, **flags: bool) -> Client:
    """A browser of one of PEOPLE; an outsider is an approver, but of globex."""
    client = Client(headers={"host": "localhost"})
    if who == "anonymous":
        return client
    user = get_user_model().objects.create_user(who, **flags)
    if who == "outsider":
        Membership.objects.create(user=user, customer=Customer.objects.get(slug="globex"), role=Role.APPROVER)
    elif who in Role.values:
        Membership.objects.create(user=user, customer=Customer.objects.get(slug="acme"), role=who)
    client.force_login(user)
    return client


# --- pages ----------------------------------------------------------------------------------------------------------


def addresses(batch: Batch) -> dict[str, str]:
    """Every address of the URL conf but the admin's, by name."""
    values = {"slug": "acme", "batch": batch.pk, "name": "table"}
    found = {}
    for namespace, pattern in patterns(get_resolver().url_patterns):
        if namespace == "admin":
            continue
        name = ":".join(filter(None, [namespace, pattern.name or ""])) or str(pattern.pattern).partition(".")[0]
        wanted = {key: values[key] for key in pattern.pattern.converters}
        found[name] = reverse(name, kwargs=wanted) if pattern.name else f"/{pattern.pattern}"
    return found


def patterns(within: list[Any], namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    for one in within:
        if isinstance(one, URLResolver):
            yield from patterns(one.url_patterns, one.namespace or namespace)
        else:
            yield namespace, one


def test_every_address_is_listed(acme: Batch) -> None:
    assert set(addresses(acme)) == set(PAGES)


@pytest.mark.parametrize("who", PEOPLE)
def test_every_address_as_each_kind_of_person(acme: Batch, who: str) -> None:
    place = PEOPLE.index(who)
    given, wanted = {}, {}
    for name, address in addresses(acme).items():
        client = _signed_in(who)  # anew for each: one of the addresses signs out
        for method, codes in zip(("get", "post"), PAGES[name], strict=True):
            given[name, method] = getattr(client, method)(address).status_code
            wanted[name, method] = codes[place]
    assert given == wanted


def _signed_in(who: str) -> Client:
    user = get_user_model().objects.filter(username=who).first()
    if user is None or who == "anonymous":
        return client_of(who)
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


@pytest.mark.parametrize("who", ["outsider", "viewer", "operator"])
def test_what_does_not_exist_answers_as_what_is_not_theirs(acme: Batch, who: str) -> None:
    client = client_of(who)
    for path in ("c/nobody/", "c/nobody/new/", "c/nobody/state", f"c/acme/b/{uuid4()}/", f"c/acme/b/{uuid4()}/state"):
        assert client.get(f"/{path}").status_code == 404, path


# --- sockets --------------------------------------------------------------------------------------------------------

SOCKETS: dict[str, tuple[int, ...]] = {
    "attention_socket": (4401, 0, 0, 0),
    "batch_socket": (4401, 4404, 0, 0),
    "customers_socket": (4401, 0, 0, 0),
    "customer_socket": (4401, 4404, 0, 0),
}
"""The code that each kind of PEOPLE is closed with; 0: it stays open."""


async def code_of(path: str, client: Client, origin: str = "http://localhost") -> int:
    """The code a socket is closed with: 403 if the handshake is refused, 0 if it stays open."""
    from orchestrator_site.asgi import application

    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    headers = [(b"origin", origin.encode()), (b"host", b"localhost"), (b"cookie", cookie.encode())]
    socket = WebsocketCommunicator(application, path, headers)
    connected, _ = await socket.connect(timeout=10)
    if not connected:
        return 403
    if await socket.receive_nothing(timeout=0.5):
        await socket.disconnect()
        return 0
    await socket.receive_from()
    return int((await socket.receive_output(timeout=10))["code"])


@pytest.mark.parametrize("who", PEOPLE)
async def test_every_socket_as_each_kind_of_person(acme: Batch, who: str) -> None:
    client = await sync_to_async(client_of)(who)
    values = {"<uuid:batch>": str(acme.pk), "<slug:slug>": "acme"}
    assert {pattern.name for pattern in websocket_urlpatterns} == set(SOCKETS)
    for pattern in websocket_urlpatterns:
        path = f"/{pattern.pattern}"
        for placeholder, value in values.items():
            path = path.replace(placeholder, value)
        assert await code_of(path, client) == SOCKETS[str(pattern.name)][PEOPLE.index(who)], path
        assert await code_of(path, client, origin="https://elsewhere.example") == 403, path
    await sync_to_async(connections.close_all)()


# --- the admin ------------------------------------------------------------------------------------------------------

VIEWS = ("changelist", "add", "change", "history", "delete")
STAFF = ("outsider", "member", "superuser")
"""Staff of globex, staff of acme, and a superuser. Whoever is not staff is sent to sign in, whatever they ask for."""

Codes = dict[str, tuple[int, int, int]]
"""What each kind of STAFF gets for a view. 302: as Django answers for a row that does not exist."""
READ_ONLY: Codes = {
    "changelist": (200, 200, 200),
    "add": (403, 403, 403),
    "change": (302, 200, 200),
    "history": (302, 200, 200),
    "delete": (403, 403, 403),
}
SUPERUSERS_ONLY: Codes = dict.fromkeys(VIEWS, (403, 403, 200))
MODELS: dict[str, Codes] = {
    "coordination.batch": READ_ONLY,
    "coordination.branch": {**READ_ONLY, "changelist": (302, 302, 302)},  # tasks are listed by batch
    "coordination.journalentry": READ_ONLY,
    "coordination.customer": {**READ_ONLY, "add": (403, 403, 200), "delete": (403, 403, 200)},
    "django_celery_results.taskresult": READ_ONLY,
    "coordination.node": {
        **dict.fromkeys(("changelist", "change"), (403, 403, 200)),
        **dict.fromkeys(("add", "delete"), (403, 403, 403)),
        "history": (302, 302, 200),
    },
    "django_celery_results.groupresult": {  # of Celery's own groups, which belong to no customer
        **dict.fromkeys(("changelist", "change"), (403, 403, 200)),
        **dict.fromkeys(("add", "delete"), (403, 403, 403)),
        "history": (302, 302, 200),
    },
    "auth.user": SUPERUSERS_ONLY,
    "auth.group": SUPERUSERS_ONLY,
}


@pytest.fixture
def rows(acme: Batch) -> dict[str, Model]:
    """One row of each model that the admin has, by label; all that has a customer is acme's."""
    branch = acme.branches.get()
    made: dict[str, Model] = {
        "coordination.batch": acme,
        "coordination.branch": branch,
        "coordination.journalentry": acme.entries.get(),
        "coordination.customer": acme.customer,
        "coordination.node": Node.objects.create(name="host-1-ab", heartbeat=timezone.now()),
        "django_celery_results.taskresult": TaskResult.objects.create(task_id=str(branch.pk), status="SUCCESS"),
        "django_celery_results.groupresult": GroupResult.objects.create(group_id=str(uuid4())),
        "auth.user": get_user_model().objects.create_user("somebody"),
        "auth.group": Group.objects.create(name="some"),
    }
    assert set(made) == {model._meta.label_lower for model in admin.site._registry} == set(MODELS)
    return made


def staff(who: str) -> Client:
    """A browser of one of STAFF."""
    if who == "superuser":
        return client_of(who, is_staff=True, is_superuser=True)
    return client_of({"member": "viewer"}.get(who, who), is_staff=True)


def path_of(label: str, view: str, row: Model) -> str:
    name = f"admin:{label.replace('.', '_')}_{view}"
    return reverse(name, args=[] if view in ("changelist", "add") else [row.pk])


@pytest.mark.parametrize("who", STAFF)
def test_every_view_of_the_admin_as_each_kind_of_staff(rows: dict[str, Model], who: str) -> None:
    client, place = staff(who), STAFF.index(who)
    assert client.get("/admin/").status_code == 200
    for label, row in rows.items():
        given = {view: client.get(path_of(label, view, row)).status_code for view in VIEWS}
        assert given == {view: codes[place] for view, codes in MODELS[label].items()}, label


@pytest.mark.parametrize("who", ["outsider", "member"])
def test_staff_change_nothing_in_the_admin(rows: dict[str, Model], who: str) -> None:
    client = staff(who)
    before = {label: list(type(row)._default_manager.order_by("pk").values()) for label, row in rows.items()}
    for label, row in rows.items():
        for view in VIEWS:
            code = client.post(path_of(label, view, row), {"post": "yes", "action": "delete_selected"}).status_code
            assert code in (200, 302, 403, 405), (label, view, code)
    after = {label: list(type(row)._default_manager.order_by("pk").values()) for label, row in rows.items()}
    assert after == before


@pytest.mark.parametrize("who", ["anonymous", "operator"])
def test_whoever_is_not_staff_is_sent_to_sign_in_by_all_of_the_admin(rows: dict[str, Model], who: str) -> None:
    client = client_of(who)
    seen = 0
    for namespace, pattern in patterns(get_resolver().url_patterns):
        if namespace != "admin":
            continue
        seen += 1
        name = f"admin:{pattern.name}"
        if name == "admin:app_list":
            path = reverse(name, args=["coordination"])
        elif pattern.name is None:  # what Django answers old or unknown addresses by
            path = "/admin/nothing/"
        else:
            path = reverse(name, args=["1" for _ in pattern.pattern.regex.groupindex])
        answer = client.get(path)
        assert answer.status_code == (200 if name == "admin:login" else 302), path
        if name not in ("admin:login", "admin:logout"):
            assert answer["Location"].startswith("/admin/login/?next="), path
    assert seen > len(rows) * len(VIEWS)
