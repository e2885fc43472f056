"""Starting a batch from a browser: what is filled in, the dry run, one start per form, and what is refused."""

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from coordination import plans
from coordination.management.durations import duration, in_words, typed
from coordination.models import Batch, Customer, CustomerDatabase, Membership, Role

pytestmark = pytest.mark.django_db(transaction=True)

FORM = "/c/acme/new/?plan=loads"
PARAMETERS = {"count": "4", "dry": "on", "kinds": ["a", "b"], "note": "hello"}
FILLED = {**PARAMETERS, "batch-label": "tonight", "batch-deadline": "2h"}


@pytest.fixture(autouse=True)
def shop(settings: Any) -> Iterator[None]:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.unit.shop"]
    plans._find_plans.cache_clear()
    yield
    plans._find_plans.cache_clear()


@pytest.fixture
def acme() -> Customer:
    customer = Customer.objects.create(slug="acme", name="Acme")
    CustomerDatabase.objects.create(customer=customer, name="ledger", alias="demo_ledger")
    return customer


@pytest.fixture
def operator(acme: Customer) -> Client:
    user = get_user_model().objects.create_user("olga")
    Membership.objects.create(user=user, customer=acme, role=Role.OPERATOR)
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found, page
    return found[1]


def dry_run(client: Client, key: str = "k1", **changed: Any) -> str:
    answer = client.post(FORM, {**FILLED, "batch-key": key, "batch-step": "check", **changed})
    assert answer.status_code == 200
    return answer.content.decode()


def start(client: Client, page: str, key: str = "k1", **changed: Any) -> Any:
    seen = hidden(page, "batch-seen")
    return client.post(FORM, {**FILLED, "batch-key": key, "batch-seen": seen, "batch-step": "start", **changed})


def test_the_plans_to_choose_from_and_the_form_of_one(operator: Client) -> None:
    page = operator.get("/c/acme/new/").content.decode()
    assert 'href="?plan=loads"' in page and "A well-behaved plan with one parameter of each kind." in page
    page = operator.get(FORM).content.decode()
    assert 'name="count" value="3"' in page and 'value="15m"' in page
    assert re.fullmatch(r"page-[0-9a-f]{16}", hidden(page, "batch-key"))
    assert 'value="start"' not in page  # nothing can be started that was not looked at
    unknown = operator.get("/c/acme/new/?plan=nothing")
    assert unknown.status_code == 404 and "There is no plan nothing." in unknown.content.decode()


def test_a_dry_run_says_what_would_be_and_records_nothing(operator: Client) -> None:
    page = unescape(re.sub(r"</?strong>", "", dry_run(operator)))
    assert "4 tasks on 1 database (ledger), guarantee: crash-safe, deadline 2 h." in page
    assert 'value="tonight"' in page and 'value="start"' in page
    assert not Batch.objects.exists()


def test_a_dry_run_says_where_it_is_not_crash_safe(operator: Client, settings: Any) -> None:
    settings.COORDINATION_DATABASES = {"demo_ledger": {"two_phase": "hold"}}
    page = unescape(re.sub(r"</?strong>", "", dry_run(operator)))
    assert "guarantee: atomic unless a worker process dies, deadline 2 h." in page
    assert "work in ledger is held open by the worker process that did it" in page
    settings.COORDINATION_DATABASES = {"demo_ledger": {"two_phase": "require"}}
    assert "held open" not in dry_run(operator)


def test_a_start_leads_to_the_batch_and_a_second_one_to_the_same(operator: Client) -> None:
    page = dry_run(operator)
    first, second = start(operator, page), start(operator, page)
    batch = Batch.objects.get()
    assert first.status_code == second.status_code == 302
    assert first["Location"] == second["Location"] == f"/c/acme/b/{batch.pk}/"
    assert (batch.label, batch.key, batch.deadline_seconds, batch.tasks) == ("tonight", "k1", 7200, 4)
    assert batch.created_by is not None and batch.created_by.get_username() == "olga"
    assert batch.entries.get().text == "Launched by olga: plan loads, 4 tasks"
    assert (batch.params["count"], batch.params["dry"], batch.params["kinds"]) == (4, True, ["a", "b"])
    again = dry_run(operator)
    assert "has been started already" in again and f"/c/acme/b/{batch.pk}/" in again


def test_what_was_changed_after_the_dry_run_is_looked_at_first(operator: Client) -> None:
    answer = start(operator, dry_run(operator), count="5")
    page = answer.content.decode()
    assert answer.status_code == 200 and "Something was changed" in page and "5 tasks" in page
    assert not Batch.objects.exists()
    assert start(operator, page, count="5").status_code == 302


def test_a_key_of_another_request(operator: Client) -> None:
    key = "page-0123456789abcdef"
    assert start(operator, dry_run(operator, key), key).status_code == 302
    answer = operator.post(FORM, {**FILLED, "count": "9", "batch-key": key, "batch-step": "check"})
    page = answer.content.decode()
    assert answer.status_code == 409 and f"/c/acme/b/{Batch.objects.get().pk}/" in page
    fresh = hidden(page, "batch-key")
    assert fresh != key and 'value="9"' in page
    assert start(operator, dry_run(operator, fresh, count="9"), fresh, count="9").status_code == 302
    assert Batch.objects.count() == 2


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"count": "-1"}, "greater than or equal to 0"),
        ({"count": ""}, "This field is required"),
        ({"kinds": ["c"]}, "not one of the available choices"),
        ({"count": "0"}, "yields no task"),
        ({"count": "20001"}, "more than 20,000 tasks"),
        ({"batch-deadline": "soon"}, "is not a length of time"),
        ({"batch-deadline": "8d"}, "from 1 second to 7 days"),
        ({"batch-label": "x" * 201}, "at most 200 characters"),
        ({"batch-label": "a\x07b"}, "printable characters"),
        ({"batch-key": ""}, "This field is required"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_stays(operator: Client, changed: dict[str, Any], said: str) -> None:
    page = unescape(dry_run(operator, **changed))
    assert said in page and 'role="alert"' in page
    assert ">hello<" in page or 'value="hello"' in page
    assert 'value="start"' not in page and not Batch.objects.exists()


def test_a_plan_that_fails_is_said(operator: Client) -> None:
    address = "/c/acme/new/?plan=broken-plan"
    posted = {"how": "raises", "batch-deadline": "2m", "batch-key": "k", "batch-step": "check"}
    page = unescape(operator.post(address, posted).content.decode())
    assert "Plan broken-plan failed while it listed its tasks: FileNotFoundError" in page
    posted["how"] = "unknown_database"
    assert "no database 'archive'; it has: ledger" in unescape(operator.post(address, posted).content.decode())


def test_a_form_filled_in_as_a_past_batch_was(operator: Client, acme: Customer) -> None:
    assert start(operator, dry_run(operator)).status_code == 302
    batch = Batch.objects.get()
    again = f"{FORM}&again={batch.pk}"
    page = operator.get(again).content.decode()
    assert 'name="count" value="4"' in page and 'value="tonight"' in page and 'value="2h"' in page
    assert hidden(page, "batch-key") != "k1"
    posted = {**FILLED, "batch-key": "k2", "batch-step": "check"}
    seen = hidden(operator.post(again, posted).content.decode(), "batch-seen")
    assert operator.post(again, {**posted, "batch-seen": seen, "batch-step": "start"}).status_code == 302
    assert Batch.objects.get(key="k2").relaunch_of == batch
    assert operator.get(f"{FORM}&again=nonsense").status_code == 200


@pytest.mark.parametrize("who, status", [("anonymous", 302), ("outsider", 404), ("viewer", 403), ("approver", 200)])
def test_who_may_start(acme: Customer, who: str, status: int) -> None:
    client = Client(headers={"host": "localhost"})
    if who != "anonymous":
        user = get_user_model().objects.create_user(who)
        if who in Role.values:
            Membership.objects.create(user=user, customer=acme, role=who)
        client.force_login(user)
    for answer in (client.get(FORM), client.post(FORM, {**FILLED, "batch-key": "k", "batch-step": "start"})):
        assert answer.status_code == status
    assert not Batch.objects.exists()
    if who == "anonymous":
        assert client.get(FORM)["Location"] == "/accounts/login/?next=/c/acme/new/%3Fplan%3Dloads"


def test_starting_wants_the_pages_token(operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    strict.cookies = operator.cookies
    assert strict.post(FORM, {**FILLED, "batch-key": "k", "batch-step": "check"}).status_code == 403


@pytest.mark.parametrize(
    "seconds, as_typed, as_read",
    [(900, "15m", "15 min"), (5400, "1h30m", "1 h 30 min"), (90061, "1d1h1m1s", "1 d 1 h 1 min 1 s"), (0, "0s", "0 s")],
)
def test_lengths_of_time(seconds: int, as_typed: str, as_read: str) -> None:
    length = timedelta(seconds=seconds)
    assert (typed(length), in_words(length)) == (as_typed, as_read)
    assert duration(typed(length)) == length
