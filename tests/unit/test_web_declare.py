"""Declaring, asking again and marking as put right, in a browser."""

import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from coordination.models import Batch, Branch, Membership, OperatorRequest, Role

from .test_web_attention import unresolved
from .test_web_customers import batch, text

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("readers_rest")]


@pytest.fixture
def stuck() -> Batch:
    """A batch that decided to commit; tasks 2 and 3 wait for database crm."""
    made: Batch = unresolved("acme")
    Branch.objects.create(
        batch=made, number=4, task="load", name="load", database="ledger", alias="demo_ledger", kind="two_phase",
        state="PREPARED", gid="gid4",
    )  # fmt: skip
    return made


def member(of: Batch, role: str) -> Client:
    user, new = get_user_model().objects.get_or_create(username=role)
    if new:
        Membership.objects.create(user=user, customer=of.customer, role=role)
    client = Client(headers={"host": "localhost"}, enforce_csrf_checks=False)
    client.force_login(user)
    return client


def address(of: Batch, what: str = "declare") -> str:
    return f"/c/acme/b/{of.pk}/{what}"


FORM = {"fate": "lost", "why": "The disk is gone", "label": "Quarter", "tasks": "2-3", "key": "k1"}


def test_exactly_what_is_touched_is_listed(stuck: Batch) -> None:
    client = member(stuck, Role.APPROVER)
    page = client.get(address(stuck)).content.decode()
    assert re.findall(r"<code>(gid\d)</code>", page) == ["gid2", "gid3", "gid4"]
    assert 'name="tasks" value="2-4"' in page and "3 tasks will be declared" in text(page)
    page = client.get(address(stuck), {"database": "crm"}).content.decode()
    assert re.findall(r"<code>(gid\d)</code>", page) == ["gid2", "gid3"] and 'name="tasks" value="2-3"' in page
    page = client.get(address(stuck), {"tasks": "1, 4"}).content.decode()
    assert re.findall(r"<code>(gid\d)</code>", page) == ["gid4"] and "of 3 that wait" in text(page)
    assert "Declare 1 task" in text(page)


def test_what_was_prepared_as_one_stays_together(stuck: Batch) -> None:
    Branch.objects.filter(number=4).update(gid="gid3")
    page = member(stuck, Role.APPROVER).get(address(stuck), {"tasks": "4"}).content.decode()
    assert 'name="tasks" value="3-4"' in page


def test_declared_once_however_often_it_is_sent(stuck: Batch) -> None:
    client = member(stuck, Role.APPROVER)
    for _ in range(2):
        answer = client.post(address(stuck), FORM)
        assert (answer.status_code, answer["Location"]) == (302, f"/c/acme/b/{stuck.pk}/")
    request = OperatorRequest.objects.get()
    assert (request.action, request.fate, request.tasks) == ("declare", "lost", [2, 3])
    assert (request.by, request.who, request.why) == ("approver", get_user_model().objects.get(), "The disk is gone")
    assert "Declare asked by approver" in text(client.get(f"/c/acme/b/{stuck.pk}/").content.decode())
    assert Branch.objects.get(number=2).state == "PREPARED", "only the manager carries it out"


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"label": "quarter"}, "This is not the label of the batch."),
        ({"why": "  "}, "This field is required."),
        ({"fate": "forgotten"}, "is not one of the available choices"),
        ({"fate": ""}, "This field is required."),
        ({"tasks": "1"}, "these do not: 1"),
        ({"tasks": ""}, "these do not: none named"),
        ({"tasks": "x"}, "is no number of a task"),
    ],
)
def test_what_is_not_confirmed_is_not_recorded(stuck: Batch, changed: dict[str, str], words: str) -> None:
    answer = member(stuck, Role.APPROVER).post(address(stuck), {**FORM, **changed})
    page = text(answer.content.decode())
    assert answer.status_code == 400 and words in page and "Nothing was declared" in page
    assert not OperatorRequest.objects.exists()


@pytest.mark.parametrize("changed", [{"fate": "committed"}, {"tasks": "2-4"}])
def test_a_key_is_of_one_declaration(stuck: Batch, changed: dict[str, str]) -> None:
    client = member(stuck, Role.APPROVER)
    client.post(address(stuck), FORM)
    answer = client.post(address(stuck), {**FORM, **changed})
    page = text(answer.content.decode())
    assert answer.status_code == 400 and "Declare asked by approver, lost: 2 tasks (2-3)" in page
    assert OperatorRequest.objects.get().fate == "lost"


def test_by_get_nothing_is_declared(stuck: Batch) -> None:
    assert member(stuck, Role.APPROVER).get(address(stuck), FORM).status_code == 200
    assert not OperatorRequest.objects.exists()


def test_only_approvers(stuck: Batch) -> None:
    for role in (Role.VIEWER, Role.OPERATOR):
        client = member(stuck, role)
        assert client.get(address(stuck)).status_code == 403
        assert client.post(address(stuck), FORM).status_code == 403
        assert client.post(address(stuck, "settle"), {"why": "x"}).status_code == 403
    assert member(stuck, Role.OPERATOR).post(address(stuck, "retry")).status_code == 302
    assert OperatorRequest.objects.get().action == "retry"
    page = member(stuck, Role.OPERATOR).get(f"/c/acme/b/{stuck.pk}/").content.decode()
    assert "Ask databases again" in page and "/declare" not in page


def test_a_post_without_a_token_is_refused(stuck: Batch) -> None:
    client = Client(headers={"host": "localhost"}, enforce_csrf_checks=True)
    member(stuck, Role.APPROVER)
    client.force_login(get_user_model().objects.get())
    for what in ("declare", "retry", "settle"):
        assert client.post(address(stuck, what), FORM).status_code == 403
    assert not OperatorRequest.objects.exists()


def test_undecided_batches_are_cancelled_not_resolved() -> None:
    undecided = batch("acme", "ACTIVE", label="Quarter")
    client = member(undecided, Role.APPROVER)
    page = client.get(address(undecided))
    assert page.status_code == 200 and "there is nothing to declare" in text(page.content.decode())
    assert client.post(address(undecided), FORM).status_code == 400
    assert client.post(address(undecided, "retry")).status_code == 400
    assert not OperatorRequest.objects.exists()


def test_marked_as_put_right() -> None:
    mixed = batch("acme", "MIXED", label="Harm", counts={"COMMITTED": 9, "LOST": 1})
    client = member(mixed, Role.APPROVER)
    assert "Mark as put right" in client.get(f"/c/acme/b/{mixed.pk}/").content.decode()
    assert client.post(address(mixed, "settle"), {"why": " "}).status_code == 400
    for key in ("k", "k\x00"):
        assert client.post(address(mixed, "settle"), {"why": "Row 7 added", "key": key}).status_code == 302
    assert OperatorRequest.objects.get().result == "Noted: put right"
    page: Any = client.get(f"/c/acme/b/{mixed.pk}/").content.decode()
    assert "by approver" in text(page) and "Row 7 added" in page and 'id="settle"' not in page
    assert client.post(address(batch("acme"), "settle"), {"why": "x"}).status_code == 400


@pytest.mark.parametrize("what, form", [("retry", {}), ("settle", {"why": " "}), ("relaunch", {"key": "k"})])
def test_a_refusal_is_answered_with_links_that_lead_to_the_page(what: str, form: dict[str, str]) -> None:
    """Where it was posted nothing can be got from."""
    made = batch("acme", "MIXED" if what == "settle" else "ACTIVE", label="Quarter", plan="gone")
    for number in range(1, 4):
        Branch.objects.create(batch=made, number=number, task="load", name="load", database="crm", alias="demo_crm")
    client, here = member(made, Role.APPROVER), f"/c/acme/b/{made.pk}/"
    answer = client.post(address(made, what), form)
    page = answer.content.decode()
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]*[?][^"]*)"', page) if "/new/" not in link]
    assert answer.status_code == 400 and f"next={here}&" in page
    assert f"{here}?tab=errors" in links and f"{here}?task=2" in links and f"{here}?tab=table&sort=-number" in links
    assert f'<form class="tools" method="get" action="{here}"' in page
    assert {client.get(link).status_code for link in links} == {200}
    seen = client.get(here).content.decode()
    assert f'href="{here}?' not in seen and 'href="?tab=errors"' in seen
