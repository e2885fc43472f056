"""A batch's page: its tabs, one task, and what operators do there."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from coordination.errors import PlanFailed
from coordination.journal.launch import Request, record
from coordination.models import Attempt, Batch, Branch, Customer, CustomerDatabase, JournalEntry, Membership, Role
from coordination.protocol.states import BatchState
from coordination.web import words
from coordination.web.problems import normalised, top_frame
from tests.unit.test_web import INERT, client_of, make

pytestmark = pytest.mark.django_db(transaction=True)

TRACE = """Traceback (most recent call last):
  File "/srv/loads/tasks.py", line {line}, in load
    save(row)
  File "/srv/venv/lib/python3.11/site-packages/psycopg/cursor.py", line 97, in execute
    raise ex
"""


@pytest.fixture
def batch() -> Batch:
    return make("acme", tasks=6)


def address(batch: Batch, query: str = "") -> str:
    return f"/c/acme/b/{batch.pk}/{query}"


def look(client: Client, batch: Batch, query: str = "") -> str:
    answer = client.get(address(batch, query))
    assert answer.status_code == 200
    return answer.content.decode()


def fail(batch: Batch, number: int, message: str, kind: str = "ValueError", line: int = 9) -> None:
    error = {"type": kind, "message": message, "traceback": TRACE.format(line=line)}
    moment = timezone.now()
    Branch.objects.filter(batch=batch, number=number).update(
        state="FAILED", error=error, started=moment - timedelta(seconds=2), finished=moment
    )


def rows(page: str) -> list[int]:
    return [int(part.partition('"')[0]) for part in page.split('<tr data-number="')[1:]]


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_is_searched_sorted_and_filtered(batch: Batch) -> None:
    client = client_of("viewer", batch)
    fail(batch, 4, "disk full")
    Branch.objects.filter(batch=batch, number=2).update(name="accounts", database="crm")
    assert rows(look(client, batch, "?tab=table&q=DISK")) == [4]
    assert rows(look(client, batch, "?tab=table&q=account")) == [2] == rows(look(client, batch, "?tab=table&q=crm"))
    assert rows(look(client, batch, "?tab=table&q=5")) == [5]
    assert rows(look(client, batch, "?tab=table&sort=-number")) == [6, 5, 4, 3, 2, 1]
    assert rows(look(client, batch, "?tab=table&sort=-started"))[0] == 4
    assert rows(look(client, batch, "?tab=table&sort=-state"))[0] == 4
    assert rows(look(client, batch, "?tab=table&state=pending&q=accounts")) == [2]
    assert rows(look(client, batch, "?tab=table&sort=nonsense&state=x&page=99&task=-1")) == [1, 2, 3, 4, 5, 6]
    sorted_page = look(client, batch, "?tab=table&sort=-name")
    assert '<th scope="col" class="name" aria-sort="descending">' in sorted_page
    assert "No task matches" in look(client, batch, "?tab=table&q=%00nothing")


def test_a_part_is_the_same_as_on_the_page(batch: Batch) -> None:
    client = client_of("viewer", batch)
    fail(batch, 4, "disk full")
    for name in ("table", "errors", "timeline", "journal"):
        part = client.get(address(batch, f"part/{name}?tab={name}&state=failed")).content.decode()
        assert part.strip() in look(client, batch, f"?tab={name}&state=failed")
        assert "<html" not in part
    for missing in ("part/grid", "part/nothing", "part/task", "part/task?task=7", "part/task?task=99999999999"):
        assert client.get(address(batch, missing)).status_code == 404, missing


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_that_differ_in_numbers_alone_are_one_group(batch: Batch) -> None:
    for number in (1, 3, 5):
        fail(batch, number, f"row {number}00 of 7f3c0d5e-1111-4222-8333-944445555666 is wrong")
    fail(batch, 6, "row 600 of file is wrong", line=12)
    page = look(client_of("viewer", batch), batch, "?tab=errors")
    assert "4 errors in 2 groups" in page
    assert "row … of … is wrong" in page and "row 600 of file is wrong" in page
    assert "loads/tasks.py:9 in load" in page and "loads/tasks.py:12 in load" in page
    assert page.index("row … of …") < page.index("row 600")


def test_words_and_places_of_errors() -> None:
    assert normalised("Key (number)=(4711) at 0x7f00, 12:30, deadbeef01") == "Key (number)=(…) at …, …, …"
    assert normalised("a decade of feedback") == "a decade of feedback"
    assert top_frame(TRACE.format(line=3)) == "loads/tasks.py:3 in load"
    assert top_frame("no traceback") == ""


def test_passwords_in_errors_are_not_shown(batch: Batch) -> None:
    words = "cannot reach postgres://kim:hunter2@db/x"
    fail(batch, 1, words)
    Batch.objects.filter(pk=batch.pk).update(state="ROLLED_BACK", decision="ROLLBACK", reason=words)
    JournalEntry.objects.create(batch=batch, text=f"Decided ROLLBACK: {words}")
    client = client_of("viewer", batch)
    for query in ("", "?tab=table", "?tab=errors", "?tab=journal", "?task=1", "state"):
        page = look(client, batch, query)
        assert "postgres://kim:" in page and "hunter2" not in page


# --- the journal ----------------------------------------------------------------------------------------------------


def test_the_journal_has_what_happened_and_what_people_asked(batch: Batch) -> None:
    JournalEntry.objects.create(batch=batch, text="Launched by kim on load1: plan loads, 6 tasks")
    client = client_of("operator", batch)
    client.post(address(batch, "cancel"), {"why": "wrong files"})
    page = look(client, batch, "?tab=journal")
    assert "Launched by kim on load1: plan loads, 6 tasks" in page
    assert "<strong>operator</strong>: Cancel asked: wrong files" in page and "not answered yet" in page
    assert "<dd>kim on load1, " in page  # who started it, where there is no account


# --- one task -------------------------------------------------------------------------------------------------------


def test_a_task_is_shown_with_all_that_is_known_of_it(batch: Batch) -> None:
    for number in (2, 4, 6):
        fail(batch, number, f"{INERT} {number}")
    branch = Branch.objects.get(batch=batch, number=4)
    branch.args = {"args": [4], "kwargs": {"api_token": "s3cret", "path": INERT}}
    branch.evidence = {"rows": 12}
    branch.save()
    Attempt.objects.create(
        branch=branch, token="a" * 16, process="w1@load1", retries=0, error={"type": "OSError", "message": "first"}
    )
    Attempt.objects.create(branch=branch, token="b" * 16, process="w2@load1", retries=1, vote="ROLLBACK")
    page = look(client_of("viewer", batch), batch, "?tab=table&task=4")
    task = page[page.index('<aside id="task"') : page.index("</aside>")]
    assert "OSError: first" in task and "voted rollback, retry 1" in task and "w2@load1" in task
    assert "s3cret" not in task and "api_token" in task and INERT not in task
    assert "<dt>rows</dt><dd>12</dd>" in task
    assert "tab=table&amp;task=2" in task and "tab=table&amp;task=6" in task
    assert "+2.0 s" in task


# --- the head -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state, counts, prefix",
    [
        ("PENDING", {".": 6}, "○ Pending"),
        ("ACTIVE", {"p": 2, "r": 4}, "◐ 2 of 6"),
        ("ROLLED_BACK", {"x": 1, "b": 5}, "✕ 1 failed"),
        ("COMMITTED", {"c": 6}, "✓ Committed"),
        ("MIXED", {"c": 5, "B": 1}, "✕ 1 failed"),
    ],
)
def test_the_titles_beginning(state: str, counts: dict[str, int], prefix: str) -> None:
    assert words.title_prefix(BatchState(state), counts, 6) == prefix


def test_the_stepper_says_where_it_is() -> None:
    assert [step["is"] for step in words.steps("finish", "ROLLBACK")] == ["done", "done", "now", "ahead"]
    assert words.steps("finish", "ROLLBACK")[2]["word"] == "Roll back"
    assert [step["is"] for step in words.steps("done", "COMMIT")] == ["done"] * 4


def test_the_page_begins_with_what_the_script_would_be_sent(batch: Batch) -> None:
    answer = client_of("viewer", batch).get(address(batch))
    frame = json.loads(answer.context["frame"])
    assert (frame["t"], frame["states"], frame["phase"]) == ("snap", "......", "prepare")


def test_five_questions_are_answered_on_the_page(batch: Batch) -> None:
    fail(batch, 4, "disk full")
    kim = get_user_model().objects.create_user("kim")
    Batch.objects.filter(pk=batch.pk).update(
        state="ROLLED_BACK", decision="ROLLBACK", reason="Task 4 of 6 failed: ValueError: disk full",
        decided=timezone.now(), ended=timezone.now(), created_by=kim, counts={"FAILED": 1, "ROLLED_BACK": 5},
    )  # fmt: skip
    page = look(client_of("viewer", batch), batch)
    for answer in (
        "Rolled back – nothing of it is applied",
        "Task 4 of 6 failed: ValueError: disk full.",
        "<dd>kim, ",
        "Nothing is left behind.",
        "Mend what the error says, then launch again.",
    ):
        assert answer in page, answer


# --- launching again ------------------------------------------------------------------------------------------------


@pytest.fixture
def launched() -> Batch:
    """A batch of a plan that exists."""
    customer = Customer.objects.create(slug="acme", name="Acme")
    for name in ("ledger", "warehouse", "crm"):
        CustomerDatabase.objects.create(customer=customer, name=name, alias=f"demo_{name}")
    request = Request(
        customer=customer, plan="demo", params={"tasks": 3, "fail_at": 0}, label="again?", deadline=timedelta(minutes=2)
    )
    return Batch.objects.get(pk=record(request).id)


def again(who: str, batch: Batch, key: str = "k") -> Any:
    return client_of(who, batch).post(address(batch, "relaunch"), {"key": key})


def test_an_operator_launches_it_again_once(launched: Batch) -> None:
    client = client_of("operator", launched)
    answers = [client.post(address(launched, "relaunch"), {"key": "k"}) for _ in range(2)]
    new = Batch.objects.exclude(pk=launched.pk).get()
    assert [answer["Location"] for answer in answers] == [f"/c/acme/b/{new.pk}/"] * 2
    assert (new.plan, new.params, new.label) == (launched.plan, launched.params, "again?")
    assert (new.relaunch_of, new.key, new.deadline_seconds) == (launched, "k", 120)
    assert new.created_by is not None and new.created_by.get_username() == "operator"
    assert f'<a href="{address(launched)}">again?</a>' in look(client, new)
    assert f'<a href="/c/acme/b/{new.pk}/"><time' in look(client, launched)


@pytest.mark.parametrize("who, status", [("anonymous", 302), ("outsider", 404), ("viewer", 403), ("approver", 302)])
def test_who_may_launch_again(launched: Batch, who: str, status: int) -> None:
    answer = again(who, launched)
    assert answer.status_code == status
    assert Batch.objects.filter(relaunch_of=launched).exists() == (who == "approver")
    if who == "anonymous":
        assert answer["Location"] == f"/accounts/login/?next={address(launched)}"


def test_what_cannot_be_launched_again_says_why(launched: Batch) -> None:
    Batch.objects.filter(pk=launched.pk).update(params={"tasks": 3, "gone": 1})
    answer = again("operator", launched)
    assert answer.status_code == 400
    assert "Not launched: Parameter gone: this plan has no such parameter" in answer.content.decode()


def test_what_cannot_be_launched_again_names_no_password(launched: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(request: Request) -> None:
        raise PlanFailed(plan="demo", problem="cannot reach postgres://ana:s3cret@db/x")

    monkeypatch.setattr("coordination.web.actions.record", fails)
    page = again("operator", launched).content.decode()
    assert "postgres://ana:••••••@db/x" in page and "s3cret" not in page


def test_viewers_are_offered_nothing_to_do(launched: Batch) -> None:
    Membership.objects.create(
        user=get_user_model().objects.create_user("looks"), customer=launched.customer, role=Role.VIEWER
    )
    client = Client(headers={"host": "localhost"})
    client.force_login(get_user_model().objects.get(username="looks"))
    page = look(client, launched)
    assert "Launch again</button>" not in page and 'id="cancel"' not in page
