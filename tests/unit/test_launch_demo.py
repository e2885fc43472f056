"""The demo's plan and people, and launching by the public names."""

import asyncio
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command
from django.db import connections, transaction

from coordination import api, errors
from coordination.models import Batch, Branch, Customer, Membership
from demo.plans import Demo

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def demo(settings: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The demo's data; what making it printed."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    monkeypatch.delenv("DEMO_PASSWORD", raising=False)
    call_command("demo_data")
    return capsys.readouterr().out


def test_people_and_databases(demo: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = dict(line.split(": password ") for line in demo.splitlines())
    assert list(printed) == ["acme_operator", "globex_operator", "initech_operator", "acme_staff", "admin"]
    assert len(set(printed.values())) == 5
    for username, password in printed.items():
        assert authenticate(username=username, password=password) is not None
    roles = Membership.objects.values_list("user__username", "customer__slug", "role")
    assert set(roles) == {
        ("acme_operator", "acme", "operator"),
        ("globex_operator", "globex", "operator"),
        ("initech_operator", "initech", "operator"),
        ("acme_staff", "acme", "viewer"),
    }
    flags = get_user_model().objects.order_by("username").values_list("username", "is_staff", "is_superuser")
    assert [row for row in flags if any(row[1:])] == [("acme_staff", True, False), ("admin", True, True)]
    for customer in Customer.objects.all():
        granted = dict(customer.databases.values_list("name", "alias"))
        assert granted == {"ledger": "demo_ledger", "warehouse": "demo_warehouse", "crm": "demo_crm"}

    call_command("demo_data")
    assert capsys.readouterr().out == ""
    assert Customer.objects.count() == 3


def test_a_password_that_is_given(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    get_user_model().objects.all().delete()
    monkeypatch.setenv("DEMO_PASSWORD", "open sesame")
    call_command("demo_data")
    assert "open sesame" not in capsys.readouterr().out
    assert authenticate(username="admin", password="open sesame") is not None


def test_the_plans_defaults() -> None:
    batch = api.launch("acme", "demo")
    stored = Batch.objects.get(pk=batch.id)
    assert stored.params == {"tasks": 100, "fail_at": 50, "rows": 10, "seconds": "0"}
    assert (stored.tasks, stored.deadline_seconds) == (100, 900)
    branch = Branch.objects.get(number=5)
    assert (branch.database, branch.alias, branch.task) == ("warehouse", "demo_warehouse", "demo.tasks.write_entries")
    assert branch.args == {"args": [5], "kwargs": {"rows": 10, "fail_at": 50, "seconds": 0.0}}
    spread = [Branch.objects.filter(database=name).count() for name in ("ledger", "warehouse", "crm")]
    assert spread == [34, 33, 33]


@pytest.mark.parametrize("params", [{"tasks": 0}, {"tasks": 20_001}, {"fail_at": -1}, {"seconds": "a"}, {"rows": -1}])
def test_values_out_of_bounds(params: dict[str, Any]) -> None:
    with pytest.raises(errors.BadParameter):
        api.launch("acme", Demo, params)
    assert not Batch.objects.exists()


def test_ten_thousand_tasks_are_launched_in_a_second() -> None:
    api.launch("acme", "demo", {"tasks": 10})
    times = []
    for _ in range(3):
        started = time.perf_counter()
        api.launch("acme", "demo", {"tasks": 10_000})
        times.append(time.perf_counter() - started)
    print(f"launch of 10,000 tasks: {min(times):.2f} s")
    assert min(times) <= 1.0, times


def test_a_batch_in_hand() -> None:
    user = get_user_model().objects.get(username="acme_operator")
    batch = api.launch(Customer.objects.get(slug="acme"), Demo, {"tasks": 3}, idempotency_key="k", user=user)
    again = api.launch("acme", "demo", {"tasks": "3"}, idempotency_key="k")
    assert (again.id, again.attached, batch.attached) == (batch.id, True, False)
    assert (batch.status().state, batch.status().committed) == ("PENDING", False)
    with pytest.raises(TimeoutError, match=f"Batch {batch.id} has not ended within 0.1 s; it goes on"):
        batch.wait(0.1)
    with pytest.raises(api.KeyReused):
        api.launch("acme", "demo", {"tasks": 4}, idempotency_key="k")
    Batch.objects.update(state="ROLLED_BACK", decision="ROLLBACK", reason="Cancelled")
    ended = batch.wait()
    assert (ended.state, ended.committed, ended.reason) == (api.BatchState.ROLLED_BACK, False, "Cancelled")
    assert Batch.objects.get().created_by == user


def test_never_inside_atomic() -> None:
    batch = api.launch("acme", "demo", {"tasks": 3})
    with transaction.atomic():
        with pytest.raises(errors.InsideAtomic, match="of database 'default'"):
            api.launch("acme", "demo")
        with pytest.raises(errors.InsideAtomic):
            batch.wait(1)
    assert Batch.objects.count() == 1


async def test_in_an_event_loop() -> None:
    batch = await api.alaunch("acme", "demo", {"tasks": 3}, label="from a coroutine")
    with pytest.raises(api.NotEnded):
        await batch.outcome(0.1)
    waiting = asyncio.create_task(batch.outcome(20))
    await Batch.objects.aupdate(state="COMMITTED", decision="COMMIT")
    assert (await waiting).committed
    assert (await Batch.objects.aget()).label == "from a coroutine"
    await sync_to_async(connections.close_all)()
