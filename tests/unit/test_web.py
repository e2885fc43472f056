"""The pages: who may see and do what, and that what people wrote is shown as text."""

import json
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from coordination.models import Batch, Branch, Customer, Membership, OperatorRequest, Role
from coordination.protocol.states import LOOKS, BatchState
from coordination.web.words import BATCH_LOOKS

pytestmark = pytest.mark.django_db(transaction=True)

INERT = "<script>alert(1)</script>"


def make(slug: str, *, tasks: int = 3, label: str = "") -> Batch:
    customer, _ = Customer.objects.get_or_create(slug=slug, defaults={"name": slug.capitalize()})
    batch = Batch.objects.create(
        customer=customer,
        plan="loads",
        label=label,
        tasks=tasks,
        guarantee="crash_safe",
        counts={"PENDING": tasks},
        start_by=timezone.now(),
        deadline_seconds=60,
    )
    Branch.objects.bulk_create(
        Branch(batch=batch, number=number, task="load", name=f"load {number}", database="ledger", alias="demo_ledger")
        for number in range(1, tasks + 1)
    )
    return batch


@pytest.fixture
def batch() -> Batch:
    return make("acme")


def client_of(who: str, batch: Batch) -> Client:
    """A browser signed in as a member with that role, an outsider, a superuser; or not at all."""
    client = Client(headers={"host": "localhost"})
    if who == "anonymous":
        return client
    make_user = (
        get_user_model().objects.create_superuser if who == "superuser" else get_user_model().objects.create_user
    )
    user = make_user(who)
    if who in Role.values:
        Membership.objects.create(user=user, customer=batch.customer, role=who)
    if who == "outsider":
        Membership.objects.create(user=user, customer=make("globex").customer, role=Role.APPROVER)
    client.force_login(user)
    return client


SEEN = {"anonymous": 302, "outsider": 404, "viewer": 200, "operator": 200, "approver": 200, "superuser": 200}


@pytest.mark.parametrize("who", SEEN)
def test_who_sees_a_customer_and_its_batches(batch: Batch, who: str) -> None:
    client = client_of(who, batch)
    page = f"/c/acme/b/{batch.pk}/"
    for address in ("/c/acme/", page, f"{page}?page=2", f"{page}?page=none"):
        answer = client.get(address)
        assert answer.status_code == SEEN[who], address
        if who == "anonymous":
            assert answer["Location"].startswith("/accounts/login/?next=/c/acme/")
    parts = [f"{page}part/{name}" for name in ("table", "errors", "timeline", "journal", "task?task=2")]
    for address in (f"{page}state", *parts):
        answer = client.get(address)
        assert answer.status_code == (401 if who == "anonymous" else SEEN[who]), address
    assert client.get("/").status_code == (302 if who == "anonymous" else 200)


@pytest.mark.parametrize(
    "who, status",
    [("anonymous", 302), ("outsider", 404), ("viewer", 403), ("operator", 302), ("approver", 302), ("superuser", 302)],
)
def test_who_may_cancel(batch: Batch, who: str, status: int) -> None:
    client = client_of(who, batch)
    page = f"/c/acme/b/{batch.pk}/"
    answer = client.post(f"{page}cancel", {"why": "wrong files"})
    assert answer.status_code == status
    assert client.get(f"{page}cancel").status_code == 405
    asked = list(OperatorRequest.objects.values_list("batch", "action", "by", "why"))
    if who in ("operator", "approver", "superuser"):
        assert answer["Location"] == page
        assert asked == [(batch.pk, "cancel", who, "wrong files")]
        assert "wrong files" in client.get(page).content.decode()
    else:
        assert asked == []


def test_cancelling_wants_the_pages_token(batch: Batch) -> None:
    client = client_of("operator", batch)
    strict = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    strict.cookies = client.cookies
    assert strict.post(f"/c/acme/b/{batch.pk}/cancel").status_code == 403
    assert not OperatorRequest.objects.exists()


def test_only_operators_of_an_undecided_batch_see_the_form(batch: Batch) -> None:
    page = f"/c/acme/b/{batch.pk}/"
    operator = client_of("operator", batch)
    assert 'id="cancel"' not in client_of("viewer", batch).get(page).content.decode()
    assert '<details class="popover" id="cancel">' in operator.get(page).content.decode()
    Batch.objects.filter(pk=batch.pk).update(state="COMMITTING", decision="COMMIT")
    assert '<details class="popover" id="cancel" hidden>' in operator.get(page).content.decode()


def test_the_wrong_customer_and_what_does_not_exist_answer_alike(batch: Batch) -> None:
    make("globex")
    client = client_of("superuser", batch)
    for address in (f"/c/globex/b/{batch.pk}/", f"/c/acme/b/{uuid.uuid4()}/", "/c/nobody/"):
        assert client.get(address).status_code == 404, address


def test_viewers_see_their_customers_only(batch: Batch) -> None:
    outsider = client_of("outsider", batch).get("/").content.decode()
    assert "Globex" in outsider and "Acme" not in outsider
    everything = client_of("superuser", batch).get("/").content.decode()
    assert "Globex" in everything and "Acme" in everything
    assert f"/c/acme/b/{batch.pk}/" in everything


def test_empty_pages_say_what_to_do_next() -> None:
    user = get_user_model().objects.create_user("kim")
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    assert "Ask an administrator" in client.get("/").content.decode()
    Membership.objects.create(user=user, customer=Customer.objects.create(slug="new", name="New"))
    assert "manage.py launch_batch new PLAN" in client.get("/").content.decode()
    assert "manage.py launch_batch new PLAN" in client.get("/c/new/").content.decode()


def test_what_people_wrote_is_text(batch: Batch) -> None:
    Batch.objects.filter(pk=batch.pk).update(label=INERT, reason=INERT, state="ROLLED_BACK", decision="ROLLBACK")
    Branch.objects.filter(batch=batch, number=1).update(
        name=INERT, state="FAILED", error={"type": "ValueError", "message": INERT}
    )
    OperatorRequest.objects.create(batch=batch, action="cancel", by=INERT, why=INERT)
    client = client_of("viewer", batch)
    page = f"/c/acme/b/{batch.pk}/"
    for address in ("/", "/c/acme/", page, f"{page}?tab=errors", f"{page}?tab=journal", f"{page}part/task?task=1"):
        page = client.get(address).content.decode()
        assert INERT not in page and "&lt;script&gt;" in page, address


def test_the_pages_keep_to_the_policy(batch: Batch) -> None:
    answer = client_of("operator", batch).get(f"/c/acme/b/{batch.pk}/")
    page = answer.content.decode()
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert " style=" not in page and "<style" not in page and " onclick=" not in page
    assert page.count("<script") == page.count("<script src=") + page.count('<script type="module" src=') == 3


def test_a_large_batch_is_listed_page_by_page() -> None:
    large = make("acme", tasks=1100)
    client = client_of("viewer", large)
    page = client.get(f"/c/acme/b/{large.pk}/").content.decode()
    assert page.count("<tr data-number=") == 100 and "1–100 of 1,100" in page
    last = client.get(f"/c/acme/b/{large.pk}/?tab=table&page=11").content.decode()
    assert last.count("<tr data-number=") == 100 and "load 1100" in last


def test_the_table_shows_one_state_alone(batch: Batch) -> None:
    Branch.objects.filter(batch=batch, number=2).update(state="FAILED", error={"type": "ValueError", "message": "no"})
    client = client_of("viewer", batch)
    address = f"/c/acme/b/{batch.pk}/"
    page = client.get(f"{address}?state=failed").content.decode()
    assert page.count("<tr data-number=") == 1 and 'data-number="2"' in page and "Show all" in page
    assert page.count("ValueError: no") == 1
    assert "No task is in this state" in client.get(f"{address}?state=lost").content.decode()
    assert client.get(f"{address}?state=nonsense").content.decode().count("<tr data-number=") == 3


def test_cancelling_without_a_session_leads_back_to_the_page(batch: Batch) -> None:
    answer = client_of("anonymous", batch).post(f"/c/acme/b/{batch.pk}/cancel")
    assert answer.headers["location"] == f"/accounts/login/?next=/c/acme/b/{batch.pk}/"


def state(client: Client, batch: Batch, query: str = "") -> Any:
    answer = client.get(f"/c/acme/b/{batch.pk}/state{query}")
    return json.loads(answer.content) if answer.status_code == 200 else answer.status_code


def test_polling_brings_a_snapshot_and_then_what_has_changed(batch: Batch) -> None:
    client = client_of("viewer", batch)
    whole = state(client, batch)
    assert (whole["t"], whole["seq"], whole["states"], whole["counts"]) == ("snap", 0, "...", {".": 3})
    Branch.objects.filter(batch=batch, number=2).update(state="RUNNING", seq=4)
    Batch.objects.filter(pk=batch.pk).update(seq=4, state="ACTIVE", counts={"PENDING": 2, "RUNNING": 1})
    later = state(client, batch, "?since=0")
    assert (later["t"], later["from"], later["to"], later["c"]) == ("delta", 0, 4, [[2, "r"]])
    assert state(client, batch, "?since=9")["t"] == "snap"  # the journal was restored from a backup
    for wrong in ("x", "-2", str(2**63), "1" * 5000):
        assert state(client, batch, f"?since={wrong}") == 400


def test_colours_come_from_the_protocols_table() -> None:
    answer = Client(headers={"host": "localhost"}).get("/coordination/states.css")
    assert answer["Content-Type"].startswith("text/css")
    sheet = answer.content.decode()
    for name, look in LOOKS.items():
        assert f"light-dark({look.light}, {look.dark})" in sheet and f'[data-state="{name}"]' in sheet


def test_every_state_of_a_batch_has_words() -> None:
    assert set(BATCH_LOOKS) == set(BatchState)
