"""Launching, on a real PostgreSQL: what is recorded, what is refused, and that a refusal records nothing."""

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import signature
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.utils import timezone

from coordination import errors, plans
from coordination.journal import listing
from coordination.journal.launch import Launched, Request, dry_run, record
from coordination.journal.wake import NODE_CHANNEL, WAKE, wake_nodes
from coordination.models import Batch, Branch, Customer, CustomerDatabase, JournalEntry
from coordination.protocol.states import Guarantee

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def shop(settings: Any) -> Iterator[None]:
    """The app with the misbehaving plans."""
    settings.INSTALLED_APPS = ["coordination", "django.contrib.auth", "django.contrib.contenttypes", "tests.unit.shop"]
    settings.COORDINATION_DATABASES = {"demo_ledger": {"two_phase": "require"}, "demo_crm": {"two_phase": "hold"}}
    plans._find_plans.cache_clear()
    yield
    plans._find_plans.cache_clear()


@pytest.fixture
def acme() -> Customer:
    acme = Customer.objects.create(slug="acme", name="Acme")
    globex = Customer.objects.create(slug="globex", name="Globex")
    CustomerDatabase.objects.create(customer=acme, name="ledger", alias="demo_ledger")
    CustomerDatabase.objects.create(customer=acme, name="plain", alias="demo_warehouse")
    CustomerDatabase.objects.create(customer=globex, name="vault", alias="demo_ledger")
    return acme


def go(plan: str = "loads", params: dict[str, Any] | None = None, **options: Any) -> Launched:
    return record(Request(customer="acme", plan=plan, params=params or {}, **options))


def nothing_recorded() -> bool:
    return not Batch.objects.exists() and not Branch.objects.exists() and not JournalEntry.objects.exists()


# --- what is recorded -------------------------------------------------------------------------------------------


def test_a_batch_with_its_branches_and_first_entry(acme: Customer) -> None:
    user = get_user_model().objects.create_user("ana")
    before = timezone.now()
    launched = go(params={"count": "2", "note": "ü"}, label="July", key="k", user=user, deadline=timedelta(seconds=90))

    batch = Batch.objects.get()
    assert (batch.pk, batch.customer, batch.plan, batch.label, batch.key) == (launched.id, acme, "loads", "July", "k")
    assert (batch.state, batch.decision, batch.tasks, batch.counts) == ("PENDING", None, 2, {"PENDING": 2})
    assert (batch.guarantee, batch.seq, batch.epoch, batch.node) == ("crash_safe", 0, 0, "")
    assert (batch.deadline_seconds, batch.deadline, batch.created_by) == (90, None, user)
    assert timedelta(minutes=59) < batch.start_by - before < timedelta(minutes=61)
    unset = {"day": None, "price": None, "kinds": [], "extra": None, "whose": None}
    assert batch.params == {"count": 2, "note": "ü", "dry": True} | unset
    first, second = Branch.objects.all()
    assert (first.number, second.number) == (1, 2)
    assert (first.task, first.name, first.database, first.alias) == ("shop.tasks.load", "load", "ledger", "demo_ledger")
    assert first.args == {"args": [1], "kwargs": {"note": "ü"}}
    assert (first.state, first.sent, first.seq, first.round, first.process) == ("PENDING", False, 0, 0, "")
    assert (first.gid, first.kind, first.error, first.started) == (None, None, None, None)
    assert [e.text for e in JournalEntry.objects.all()] == ["Launched by ana: plan loads, 2 tasks"]


def test_parameters_are_cleaned_and_kept_as_json_that_binds_again(acme: Customer) -> None:
    same = {"count": 1, "dry": False, "note": "", "extra": {"deep": [1, None]}, "whose": acme.pk}
    launched = go(params=same | {"day": date(2026, 7, 1), "price": Decimal("1.10"), "kinds": ("a", "b")})
    stored = Batch.objects.get().params
    assert stored == same | {"day": "2026-07-01", "price": "1.10", "kinds": ["a", "b"]}
    again = go(params=stored)
    assert again.id != launched.id
    assert Batch.objects.get(pk=again.id).params == stored


@pytest.mark.parametrize(
    "text, value", [("true", True), ("on", True), ("1", True), ("False", False), ("no", False), ("0", False)]
)
def test_true_and_false_as_text(acme: Customer, text: str, value: bool) -> None:
    go(params={"dry": text})
    assert Batch.objects.get().params["dry"] is value


def test_one_value_for_a_parameter_that_takes_several(acme: Customer) -> None:
    go(params={"kinds": "b"})
    assert Batch.objects.get().params["kinds"] == ["b"]


def test_characters_that_copy_and_json_would_trip_over(acme: Customer) -> None:
    go("broken-plan", {"how": "backslash_u"})
    assert Branch.objects.get().args == {"args": [r"\u0000 \N"], "kwargs": {"tab": "\t\n"}}
    assert Batch.objects.get().deadline_seconds == 120


def test_arguments_just_below_the_limit(acme: Customer) -> None:
    go("broken-plan", {"how": "fits"})
    assert Branch.objects.count() == 1


def test_signatures_for_afterwards_are_kept(acme: Customer) -> None:
    go(on_committed=signature("tell.them", args=[1]), on_rolled_back=signature("weep"))
    batch = Batch.objects.get()
    assert (batch.on_committed["task"], batch.on_committed["args"]) == ("tell.them", [1])
    assert signature(batch.on_rolled_back).task == "weep"


def test_ten_thousand_branches_in_a_second(acme: Customer) -> None:
    go(params={"count": 100})
    times = []
    for _ in range(3):
        started = time.perf_counter()
        go(params={"count": 10_000})
        times.append(time.perf_counter() - started)
    assert Branch.objects.count() == 30_100
    assert min(times) <= 1.0, times


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params, problem",
    [
        ({"count": "many"}, "Parameter count: Enter a whole number."),
        ({"count": ""}, "Parameter count: This field is required."),
        ({"count": -1}, "Parameter count: Ensure this value is greater than or equal to 0."),
        ({"count": 30_001, "day": "soon"}, "less than or equal to 30000. Parameter day: Enter a valid date."),
        ({"tasks": 1}, "Parameter tasks: this plan has no such parameter; it has: count, day, price, dry, kinds"),
        ({"dry": "maybe"}, "Parameter dry: 'maybe' is neither true nor false."),
        ({"kinds": ["c"]}, "Parameter kinds: Select a valid choice."),
        ({"note": ["a", "b"]}, "Parameter note: it takes one value, not several."),
        ({"note": "\x00"}, "Parameter note: Null characters are not allowed."),
        ({"extra": {"a": "\x00"}}, "Parameter values: they cannot be kept as JSON (a text holds a NUL character)."),
        ({"extra": '{"a": NaN}'}, "Parameter values: they cannot be kept as JSON"),
        ({"count": 0}, "Plan loads yields no task for these parameters"),
        ({"count": 20_001}, "Plan loads yields more than 20,000 tasks"),
    ],
)
def test_wrong_parameters(acme: Customer, params: dict[str, Any], problem: str) -> None:
    with pytest.raises(errors.RequestError) as caught:
        go(params=params)
    assert problem in str(caught.value)
    assert nothing_recorded()


@pytest.mark.parametrize(
    "how, error, words",
    [
        ("raises", errors.PlanFailed, "FileNotFoundError: [Errno 2] No such file or directory: '/data/today'"),
        ("no_task", errors.NotATask, "yielded 'load', which is no task"),
        ("unknown_database", errors.DatabaseNotGranted, "acme has no database 'archive'; it has: ledger, plain"),
        ("somebody_elses", errors.DatabaseNotGranted, "acme has no database 'vault'"),
        ("swapped_alias", errors.DatabaseNotGranted, "acme has no database 'ledger at default'"),
        ("not_enlisted", errors.AliasNotTwoPhase, "'demo_warehouse' is not in COORDINATION_DATABASES"),
        ("too_large", errors.ArgumentsTooLarge, "Arguments of task 1 are 66,"),
        ("not_json", errors.ArgumentsNotJson, "timedelta is not JSON serializable"),
        ("nan", errors.ArgumentsNotJson, "Out of range float"),
        ("nul", errors.ArgumentsNotJson, "NUL character"),
        ("half_a_character", errors.ArgumentsNotJson, "surrogates not allowed"),
        ("endless", errors.TooManyBranches, "more than 20,000 tasks"),
    ],
)
def test_plans_that_misbehave(acme: Customer, how: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        go("broken-plan", {"how": how})
    assert words in str(caught.value)
    assert nothing_recorded()


def test_a_database_that_is_not_asked_to_prepare(acme: Customer) -> None:
    """The guarantee says so, in the dry run and in the journal; any number of tasks may be there."""
    CustomerDatabase.objects.filter(name="ledger", customer=acme).update(alias="demo_crm")
    preview = dry_run(Request(customer="acme", plan="loads"))
    assert (preview.guarantee, preview.weaker, preview.tasks) == (Guarantee.PROCESS_BOUND, ("ledger",), 3)
    go()
    assert Batch.objects.get().guarantee == "process_bound"


def test_a_floor_above_what_the_databases_can_promise(acme: Customer) -> None:
    CustomerDatabase.objects.filter(name="ledger", customer=acme).update(alias="demo_crm")
    Customer.objects.update(guarantee_floor="crash_safe")
    with pytest.raises(errors.GuaranteeBelowFloor, match='weaker than "Crash-safe", which customer acme requires'):
        go()
    assert nothing_recorded()
    Customer.objects.update(guarantee_floor="process_bound")
    go()


def test_a_database_with_one_writer_takes_one_task(acme: Customer, settings: Any, sqlite_alias: str) -> None:
    CustomerDatabase.objects.filter(name="ledger", customer=acme).update(alias=sqlite_alias)
    settings.COORDINATION_DATABASES = {sqlite_alias: {"two_phase": "hold"}}
    with pytest.raises(errors.OneWriter, match="Tasks 1 and 2 of this batch both write to database 'ledger'"):
        go()
    settings.COORDINATION_DATABASES = {sqlite_alias: {}}
    with pytest.raises(errors.EngineCannotPrepare, match="cannot prepare a transaction"):
        go(params={"count": 1})
    assert nothing_recorded()
    settings.COORDINATION_DATABASES = {sqlite_alias: {"two_phase": "hold"}}
    go(params={"count": 1})
    assert Batch.objects.get().guarantee == "process_bound"


def test_a_slow_plan(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PLAN_SECONDS", 0.2)
    with pytest.raises(errors.PlanTooSlow):
        go("broken-plan", {"how": "slow"})
    assert nothing_recorded()


def test_unknown_customer_and_plan(acme: Customer) -> None:
    with pytest.raises(errors.UnknownCustomer, match="no customer 'nobody'; there are: acme, globex"):
        record(Request(customer="nobody", plan="loads"))
    for name in ("nightly", "_base", "abstract", "plan"):
        with pytest.raises(errors.UnknownPlan, match="there are: broken-plan, loads"):
            go(name)
    assert nothing_recorded()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"label": "x" * 201}, "The label cannot be"),
        ({"label": "a\nb"}, "The label cannot be"),
        ({"key": " "}, "The idempotency key cannot be empty"),
        ({"key": "k" * 201}, "The idempotency key cannot be"),
        ({"deadline": timedelta(0)}, "The deadline cannot be 0:00:00"),
        ({"deadline": timedelta(days=8)}, "The deadline cannot be 8 days"),
        ({"on_committed": {"args": []}}, "on_committed cannot be dict: give a Celery signature"),
        ({"on_committed": {"task": "t", "args": [object()]}}, "not JSON serializable"),
    ],
)
def test_a_wrong_request(acme: Customer, options: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        go(**options)
    assert words in str(caught.value)
    assert nothing_recorded()


def test_a_floor_above_the_guarantee_is_the_only_one_refused(acme: Customer) -> None:
    for floor in ("compensated", "process_bound", "crash_safe"):
        Customer.objects.update(guarantee_floor=floor)
        go()
    assert Batch.objects.count() == 3


def test_inside_a_transaction(acme: Customer) -> None:
    with transaction.atomic(), pytest.raises(errors.InsideAtomic, match="'default'"):
        go()
    assert nothing_recorded()


@pytest.mark.django_db(transaction=True, databases=["default", "demo_ledger"])
def test_inside_a_transaction_of_another_database(acme: Customer) -> None:
    with transaction.atomic(using="demo_ledger"), pytest.raises(errors.InsideAtomic, match="'demo_ledger'"):
        go()
    assert nothing_recorded()


def test_a_plan_that_leaves_a_transaction_open(acme: Customer) -> None:
    with pytest.raises(errors.InsideAtomic) as caught:
        go("broken-plan", {"how": "leaves_atomic"})
    plans.known_plans()["broken-plan"].block.__exit__(caught.type, caught.value, None)
    assert nothing_recorded()


# --- idempotency keys -------------------------------------------------------------------------------------------


def test_same_key_and_request_attaches(acme: Customer) -> None:
    first = go(params={"count": 2, "day": "2026-07-01"}, key="nightly")
    again = go(params={"day": date(2026, 7, 1), "count": "2"}, key="nightly", label="other words")
    assert again == Launched(first.id, attached=True) and not first.attached
    assert Batch.objects.count() == 1


@pytest.mark.parametrize("options", [{"params": {"count": 4}}, {"deadline": timedelta(minutes=14)}])
def test_same_key_for_another_request(acme: Customer, options: dict[str, Any]) -> None:
    first = go(key="nightly")
    with pytest.raises(errors.KeyReused, match=f"'nightly' belongs to batch {first.id} of acme"):
        go(key="nightly", **options)
    with pytest.raises(errors.KeyReused):
        go("broken-plan", {"how": "fits"}, key="nightly")
    assert Batch.objects.count() == 1


def test_keys_are_a_customers_own(acme: Customer) -> None:
    globex = Customer.objects.get(slug="globex")
    CustomerDatabase.objects.create(customer=globex, name="ledger", alias="demo_ledger")
    first = go(key="nightly")
    assert record(Request(customer=globex, plan="loads", key="nightly")).id != first.id


def test_racing_launches_with_one_key_make_one_batch(acme: Customer) -> None:
    barrier = threading.Barrier(4)
    results: list[Launched] = []

    def run() -> None:
        try:
            barrier.wait(10)
            results.append(go(params={"count": 500}, key="race"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert len({launched.id for launched in results}) == 1
    assert sorted(launched.attached for launched in results) == [False, True, True, True]
    assert Branch.objects.count() == 500


def test_an_integrity_error_of_another_kind_is_not_taken_for_a_reused_key(acme: Customer) -> None:
    with pytest.raises(Exception) as caught:
        go(relaunch_of=uuid.uuid4(), key="k")
    assert "relaunch_of" in str(caught.value)
    assert nothing_recorded()


# --- the hint ---------------------------------------------------------------------------------------------------


async def test_the_hint_reaches_the_nodes_channel(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    await wake_nodes()
    layer = get_channel_layer()
    assert layer is not None
    assert await asyncio.wait_for(layer.receive(NODE_CHANNEL), 5) == {"type": WAKE}


@pytest.mark.parametrize("host", ["redis://127.0.0.1:1/0", "redis://240.0.0.1:6379/0"])
async def test_a_channel_layer_that_cannot_be_reached_costs_less_than_a_second(settings: Any, host: str) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [host]}}
    }
    started = time.monotonic()
    await wake_nodes()
    assert time.monotonic() - started < 1


async def test_not_from_an_event_loops_own_thread_but_by_way_of_one(settings: Any) -> None:
    """`launch` in a coroutine is refused by Django before anything is recorded; `alaunch` is the way."""
    with pytest.raises(Exception, match="async context"):
        go()

    def look() -> bool:
        try:
            return nothing_recorded()
        finally:
            connections.close_all()

    assert await sync_to_async(look)()
