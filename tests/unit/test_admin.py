"""The admin: staff find their customers' past runs, change nothing, and see nothing of anybody else's."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from django_celery_results.models import GroupResult, TaskResult
from pytest_django import DjangoAssertNumQueries

from coordination.admin.nodes import NodeAdmin
from coordination.models import Attempt, Batch, Branch, Customer, JournalEntry, Membership, Node, OperatorRequest

pytestmark = pytest.mark.django_db

BATCHES = "/admin/coordination/batch/"
BRANCHES = "/admin/coordination/branch/"
CUSTOMERS = "/admin/coordination/customer/"
ENTRIES = "/admin/coordination/journalentry/"
RESULTS = "/admin/django_celery_results/taskresult/"
GROUPS = "/admin/django_celery_results/groupresult/"


def make(slug: str, *, tasks: int = 2, state: str = "ROLLED_BACK") -> Batch:
    """A past run of that customer, whose every text names the customer."""
    customer, _ = Customer.objects.get_or_create(slug=slug, defaults={"name": slug.capitalize()})
    launcher, _ = get_user_model().objects.get_or_create(username=f"{slug}_launcher")
    now = timezone.now()
    batch = Batch.objects.create(
        customer=customer,
        plan=f"{slug}.loads",
        params={"rows": f"{slug}.csv"},
        key=f"{slug}-key-{uuid.uuid4()}",
        label=f"{slug} nightly",
        tasks=tasks,
        state=state,
        reason=f"{slug} <b>reason</b>",
        guarantee="crash_safe",
        counts={"ROLLED_BACK": tasks - 1, "FAILED": 1},
        created_by=launcher,
        start_by=now,
        deadline_seconds=60,
        dispatched=now,
        ended=now + timedelta(seconds=5),
    )
    Branch.objects.bulk_create(
        Branch(
            batch=batch,
            number=number,
            task=f"{slug}.load",
            name=f"{slug} load {number}",
            database="ledger",
            alias="demo_ledger",
            state="FAILED" if number == 1 else "ROLLED_BACK",
            error={"type": "ValueError", "message": f"{slug} <i>bad</i>", "traceback": "Traceback: line 7"},
        )
        for number in range(1, tasks + 1)
    )
    first = batch.branches.get(number=1)
    Attempt.objects.create(branch=first, token=uuid.uuid4().hex[:16], process=f"{slug}@worker", vote="ROLLBACK")
    JournalEntry.objects.create(batch=batch, text=f"{slug} was decided")
    OperatorRequest.objects.create(batch=batch, action="cancel", by=f"{slug} person", why="wrong file", result="Done")
    TaskResult.objects.create(task_id=str(first.pk), task_name=f"{slug}.load", status="FAILURE", worker=f"{slug}@w")
    return batch


@pytest.fixture
def acme() -> Batch:
    return make("acme")


@pytest.fixture
def globex() -> Batch:
    return make("globex")


@pytest.fixture
def staff(acme: Batch) -> Client:
    return sign_in("sam", acme, is_staff=True)


@pytest.fixture
def superuser(acme: Batch) -> Client:
    return sign_in("root", None, is_staff=True, is_superuser=True)


def sign_in(name: str, batch: Batch | None, **flags: bool) -> Client:
    user = get_user_model().objects.create_user(name, **flags)
    if batch is not None:
        Membership.objects.create(user=user, customer=batch.customer)
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


def page(client: Client, address: str, **query: Any) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, (address, answer.status_code)
    return answer.content.decode()


def listed(client: Client, address: str, **query: Any) -> set[str]:
    """The primary keys of the rows of a list."""
    answer = client.get(address, query)
    assert answer.status_code == 200, (address, query, answer.status_code)
    return {str(row.pk) for row in answer.context["cl"].result_list}


def test_a_past_run_is_found_by_id_key_label_outcome_and_date(staff: Client, acme: Batch) -> None:
    other = make("acme", state="COMMITTED")
    Batch.objects.filter(pk=other.pk).update(label="weekly", created=timezone.now() - timedelta(days=800))
    created, this = acme.created, {str(acme.pk)}
    assert listed(staff, BATCHES) == {str(acme.pk), str(other.pk)} == listed(staff, BATCHES, q="acme")
    for wanted in (str(acme.pk), str(acme.pk)[:13], acme.key, "nightly"):
        assert listed(staff, BATCHES, q=wanted) == this
    assert listed(staff, BATCHES, outcome="ROLLED_BACK") == this
    assert listed(staff, BATCHES, outcome="COMMITTED") == {str(other.pk)}
    assert listed(staff, BATCHES, outcome="open") == set()
    assert listed(staff, BATCHES, created__year=created.year, created__month=created.month) == this


def test_the_list_says_what_became_of_each(staff: Client, acme: Batch) -> None:
    text = page(staff, BATCHES)
    for said in (str(acme.pk)[:8], "acme nightly", "Acme", "↺ Rolled back", "5.0 s", "acme_launcher"):
        assert said in text
    assert f"/c/acme/b/{acme.pk}/" in text
    assert '<td class="field-failed">1</td>' in text


def test_a_run_says_why_who_and_what_happened(staff: Client, acme: Batch) -> None:
    text = page(staff, f"{BATCHES}{acme.pk}/change/")
    for said in ("acme_launcher", "Crash-safe", "acme.csv", "acme was decided", "acme person", "wrong file"):
        assert said in text
    assert "acme &lt;b&gt;reason&lt;/b&gt;" in text
    assert f"{BRANCHES}?batch__id__exact={acme.pk}" in text


def test_what_a_run_shows_of_its_journal_is_bounded(staff: Client, acme: Batch) -> None:
    JournalEntry.objects.bulk_create(JournalEntry(batch=acme, text=f"entry {n}.") for n in range(1, 151))
    text = page(staff, f"{BATCHES}{acme.pk}/change/")
    assert len(re.findall(r"entry \d+\.", text)) == 100
    assert "entry 150." in text and "entry 50." not in text


def test_each_task_says_its_error_and_how_its_run_ended(staff: Client, acme: Batch) -> None:
    make("acme")
    tasks = acme.branches.all()
    assert listed(staff, BRANCHES, batch__id__exact=acme.pk) == {str(task.pk) for task in tasks}
    first = tasks.get(number=1)
    assert listed(staff, BRANCHES, batch__id__exact=acme.pk, state="FAILED") == {str(first.pk)}
    assert "ValueError: acme &lt;i&gt;bad&lt;/i&gt;" in page(staff, BRANCHES, batch__id__exact=acme.pk)
    text = page(staff, f"{BRANCHES}{first.pk}/change/")
    result = TaskResult.objects.get(task_id=str(first.pk))
    for said in ("Traceback: line 7", "acme@worker", f"{RESULTS}{result.pk}/change/", "never the outcome"):
        assert said in text
    assert "None kept." in page(staff, f"{BRANCHES}{tasks.get(number=2).pk}/change/")
    assert "FAILURE" in page(staff, f"{RESULTS}{result.pk}/change/")


def test_tasks_are_listed_by_batch_or_found_by_their_celery_id(staff: Client, acme: Batch, globex: Batch) -> None:
    task = acme.branches.get(number=2)
    answer = staff.get(BRANCHES, follow=True)
    assert answer.redirect_chain == [(BATCHES, 302)] and "Tasks are listed by batch" in answer.content.decode()
    assert listed(staff, BRANCHES, q=str(task.pk)) == {str(task.pk)} == listed(staff, BRANCHES, q=task.pk.hex)
    assert listed(staff, BRANCHES, q=str(globex.branches.get(number=1).pk)) == set()
    assert BRANCHES not in page(staff, "/admin/")


def test_what_is_a_secret_is_not_shown(staff: Client, acme: Batch) -> None:
    secrets = {"api_key": "hush-1", "inner": [{"dbPassword": "hush-2"}], "url": "postgresql://ana:hush-3@host/db"}
    shown = {"path": "shown.csv", "keyboard": "qwertz"}
    Batch.objects.filter(pk=acme.pk).update(params={**secrets, **shown}, on_committed={"kwargs": secrets})
    acme.branches.filter(number=1).update(args={"args": [], "kwargs": {**secrets, **shown, "long": "x" * 9000}})
    for address in (BATCHES, BRANCHES):
        text = page(staff, f"{address}{rows_of(acme)[address]}/change/")
        assert "hush" not in text and "shown.csv" in text and "qwertz" in text and "postgresql://ana:" in text
    assert "characters more" in text and "x" * 5000 not in text


def test_passwords_in_what_servers_say_are_not_shown(staff: Client, acme: Batch) -> None:
    words = "could not connect to postgresql://ana:hush@host/db"
    Batch.objects.filter(pk=acme.pk).update(reason=words)
    acme.branches.update(how=words, error={"type": "OperationalError", "message": words, "traceback": words})
    acme.entries.update(text=words)
    TaskResult.objects.update(result=words, traceback=words)
    OperatorRequest.objects.create(batch=acme, action="retry", by="olga", why=words, result=words)
    rows = rows_of(acme)
    pages = [f"{address}{rows[address]}/change/" for address in (BATCHES, BRANCHES, ENTRIES, RESULTS)]
    for address in (*pages, ENTRIES, f"{BRANCHES}?batch__id__exact={acme.pk}"):
        text = page(staff, address)
        assert "hush" not in text and "could not connect to postgresql://ana:" in text, address


def test_what_needs_attention_is_found(staff: Client, acme: Batch) -> None:
    past = timezone.now() - timedelta(hours=1)
    wanted = {
        make("acme", state="MIXED"): {},
        make("acme", state="ACTIVE"): {"deadline": past, "ended": None},
        make("acme", state="COMMITTING"): {"decision": "COMMIT", "decided": past, "ended": None},
    }
    for batch, fields in wanted.items():
        Batch.objects.filter(pk=batch.pk).update(**fields)
    make("acme", state="ACTIVE")
    assert listed(staff, BATCHES, attention="yes") == {str(batch.pk) for batch in wanted}


def rows_of(batch: Batch) -> dict[str, Any]:
    """One row of each kind of that batch, by the address of its list."""
    first = batch.branches.get(number=1)
    return {
        BATCHES: batch.pk,
        BRANCHES: first.pk,
        ENTRIES: batch.entries.get().pk,
        CUSTOMERS: batch.customer.pk,
        RESULTS: TaskResult.objects.get(task_id=str(first.pk)).pk,
    }


def query_of(address: str, batch: Batch) -> dict[str, Any]:
    """What a list of rows of ``batch`` has to be asked with: tasks are listed by batch."""
    return {"batch__id__exact": batch.pk} if address == BRANCHES else {}


@pytest.mark.parametrize("who", ["staff", "superuser"])
def test_nothing_is_added_changed_or_deleted(who: str, acme: Batch, request: pytest.FixtureRequest) -> None:
    client: Client = request.getfixturevalue(who)
    for address, pk in rows_of(acme).items():
        if who == "superuser" and address == CUSTOMERS:
            continue
        assert client.get(f"{address}add/").status_code == 403
        assert client.post(f"{address}add/", {}).status_code == 403
        assert client.post(f"{address}{pk}/change/", {"label": "forged"}).status_code == 403
        assert client.post(f"{address}{pk}/delete/", {"post": "yes"}).status_code == 403
        client.post(address, {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"})
        assert "_save" not in page(client, f"{address}{pk}/change/")
    acme.refresh_from_db()
    assert acme.label == "acme nightly"
    assert rows_of(acme)


def test_staff_see_nothing_of_another_customer(staff: Client, acme: Batch, globex: Batch) -> None:
    ours, theirs = rows_of(acme), rows_of(globex)
    for address, pk in theirs.items():
        query = query_of(address, acme)
        assert str(ours[address]) in listed(staff, address, **query)
        assert str(pk) not in listed(staff, address, **query)
        assert "globex" not in page(staff, address, **query).lower()  # filters too
        assert listed(staff, address, **query, q="globex") == set()
        assert "globex" not in page(staff, f"{address}{ours[address]}/change/").lower()
    for address, asked in (
        (BATCHES, {"customer__id__exact": globex.customer.pk}),
        (BRANCHES, {"batch__id__exact": globex.pk}),
        (RESULTS, {"task_name": "globex.load"}),
    ):
        assert str(theirs[address]) not in listed(staff, address, **asked)


def test_what_is_not_theirs_answers_as_what_is_not_there(staff: Client, globex: Batch) -> None:
    for address, pk in rows_of(globex).items():
        missing = uuid.uuid4() if isinstance(pk, uuid.UUID) else 2_000_000_000
        for view in ("change", "history"):
            said = []
            for one in (pk, missing):
                answer = staff.get(f"{address}{one}/{view}/", follow=True)
                assert answer.redirect_chain == [("/admin/", 302)]
                said.append([str(message).replace(str(one), "…") for message in answer.context["messages"]])
            assert said[0] == said[1] and "doesn’t exist" in said[0][0]


def test_results_of_other_tasks_are_for_superusers(staff: Client, superuser: Client) -> None:
    chore = TaskResult.objects.create(task_id="a-chore-of-the-project", task_name="chore", status="SUCCESS")
    group = GroupResult.objects.create(group_id="a-group")
    assert str(chore.pk) not in listed(staff, RESULTS)
    assert str(chore.pk) in listed(superuser, RESULTS)
    assert staff.get(GROUPS).status_code == 403
    assert "a-group" in page(superuser, GROUPS)
    assert "a-group" in page(superuser, f"{GROUPS}{group.pk}/change/")


def test_superusers_see_all_and_change_customers(superuser: Client, acme: Batch, globex: Batch) -> None:
    for batch in (acme, globex):
        for address, pk in rows_of(batch).items():
            assert str(pk) in listed(superuser, address, **query_of(address, batch))
            page(superuser, f"{address}{pk}/change/")
    form = {"slug": "acme", "name": "Acme & Sons", "max_running_batches": "3", "guarantee_floor": "crash_safe"}
    for prefix in ("memberships", "databases"):
        form |= {f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"}
    form |= {"databases-TOTAL_FORMS": "1", "databases-0-name": "ledger", "databases-0-alias": "demo_ledger"}
    answer = superuser.post(f"{CUSTOMERS}{acme.customer.pk}/change/", form)
    assert answer.status_code == 302, answer.context["errors"]
    customer = Customer.objects.get(slug="acme")
    assert customer.name == "Acme & Sons" and customer.database("ledger").alias == "demo_ledger"


def test_others_do_not_enter(acme: Batch) -> None:
    member, outsider = sign_in("mia", acme), sign_in("otto", None, is_staff=True)
    for address, pk in rows_of(acme).items():
        for one in (address, f"{address}{pk}/change/"):
            for client in (member, Client(headers={"host": "localhost"})):
                assert client.get(one).headers["location"].startswith("/admin/login/")
            assert outsider.get(one).status_code == 403
    assert "Batch" not in page(outsider, "/admin/")


@pytest.mark.parametrize("who", ["staff", "superuser"])
def test_pages_of_ten_thousand_tasks_ask_little(
    who: str,
    acme: Batch,
    request: pytest.FixtureRequest,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    client: Client = request.getfixturevalue(who)
    big = make("acme", tasks=10_000)
    TaskResult.objects.bulk_create(
        TaskResult(task_id=str(pk), task_name="acme.load", status="SUCCESS", worker="w", result="1")
        for pk in big.branches.filter(number__gt=1).values_list("pk", flat=True)
    )
    addresses = ["/admin/", f"{BRANCHES}?batch__id__exact={big.pk}", f"{BRANCHES}?batch__id__exact={big.pk}&p=100"]
    for address, pk in rows_of(big).items():
        addresses += [f"{address}{pk}/change/"] if address == BRANCHES else [address, f"{address}{pk}/change/"]
    for address in addresses:
        with django_assert_max_num_queries(15):
            answer = client.get(address)
        assert answer.status_code == 200, address
        assert len(answer.content) < 300_000, address


def test_what_nodes_took_over_is_found_by_an_index(superuser: Client) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        root = get_user_model().objects.get(username="root")
        plan = NodeAdmin(Node, admin.site).scope(Node.objects.all(), root).explain()
    assert plan.count("batch_taken_over") >= 2, plan
