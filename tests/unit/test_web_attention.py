"""The page of what needs attention: what is on it, for whom, the number beside its link, and the frames."""

import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from coordination.journal import requests
from coordination.journal.attention import troubles
from coordination.models import Batch, Branch, Customer, CustomerDatabase, Node, Role
from coordination.web import attention, attention_orphans
from coordination.web.attention_orphans import Orphan, Sight

from .test_web_customers import batch, keys, text, viewer  # noqa: F401  # viewer is a fixture

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("readers_rest")]
Viewer = Callable[..., Client]


class Sees:
    """A lookout that has seen what it is told."""

    def __init__(self, *orphans: Orphan, blind: tuple[str, ...] = ()) -> None:
        self._sight = Sight(orphans, blind)

    def sight(self) -> Sight:
        return self._sight


@pytest.fixture(autouse=True)
def nothing_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets are looked at in a test of their own; here they are at rest, and a node is heard of."""
    monkeypatch.setattr(attention, "LOOKOUT", Sees())
    Node.objects.create(name="host-1-ab", heartbeat=timezone.now() + timedelta(hours=1))


def unresolved(slug: str, **fields: Any) -> Any:
    made = batch(slug, "COMMITTING", ago=300, label="Quarter", decision="COMMIT", **fields)
    for number in (1, 2, 3):
        Branch.objects.create(
            batch=made, number=number, task="load", name="load", database="crm", alias="demo_crm", kind="two_phase",
            state="COMMITTED" if number == 1 else "PREPARED", gid=f"gid{number}",
        )  # fmt: skip
    return made


def test_all_is_well(viewer: Viewer) -> None:  # noqa: F811
    batch("acme", "COMMITTED")
    batch("acme", "ACTIVE", ago=10, deadline=timezone.now() + timedelta(minutes=5))
    page = viewer("acme").get("/attention/").content.decode()
    assert re.search(r'<div class="card well" id="none">', page) and "All is well." in text(page)
    assert "<title>Attention</title>" in page
    assert re.search(r'id="attention-count" class="badge-count" hidden', page)


def test_what_needs_attention_the_worst_first(viewer: Viewer) -> None:  # noqa: F811
    late = batch("acme", "ACTIVE", deadline=timezone.now() - timedelta(minutes=1), label="Late")
    stalled = batch("acme", "ACTIVE", ago=200, deadline=timezone.now() + timedelta(hours=1), label="Stalled")
    stuck = unresolved("globex")
    mixed = batch("acme", "MIXED", label="Harm")
    batch("other", "MIXED")
    Node.objects.create(name="host-2-cd", heartbeat=timezone.now() - timedelta(seconds=40))
    client = viewer("acme", "globex")
    assert keys(client, "/attention/state") == [
        f"mixed-{mixed.pk}", f"unresolved-{stuck.pk}", f"overdue-{late.pk}", f"stalled-{stalled.pk}", "node-1",
    ]  # fmt: skip
    page = client.get("/attention/").content.decode()
    said = text(page)
    assert "host-2" not in page, "nor in a key, where only the source shows it"
    assert "<title>⚠ 5 · Attention</title>" in page and "Attention : 5" in said
    assert "Quarter Globex Decided, but tasks 2-3 (database crm) are not finished yet." in said
    assert "A manager It was not heard of since" in said
    assert "no worker takes from queue celery" in said
    assert " style=" not in page and "onclick" not in page
    assert "Attention : 5" in text(client.get("/").content.decode())


def test_of_many_tasks_some_are_read(django_assert_num_queries: Any) -> None:
    stuck = [unresolved(slug, counts={"COMMITTED": 1, "PREPARED": 2}) for slug in ("acme", "globex")]
    found = Batch.objects.filter(pk__in=[one.pk for one in stuck])
    with django_assert_num_queries(5):  # one for each matter, one for the tasks
        some = troubles(found, named=1)
    assert [one.tasks for one in some] == [(2,), (2,)]
    assert some[0].words == "Decided, but tasks 2 and 1 more (databases crm, …) are not finished yet."
    assert [one.tasks for one in troubles(found, named=None)] == [(2, 3), (2, 3)]
    assert {one.words for one in troubles(found, named=2)} == {
        "Decided, but tasks 2-3 (database crm) are not finished yet."
    }


def test_declaring_is_offered_to_approvers_only(viewer: Viewer) -> None:  # noqa: F811
    link = f"/c/acme/b/{unresolved('acme').pk}/declare"
    for role, offered in ((Role.VIEWER, False), (Role.OPERATOR, False), (Role.APPROVER, True)):
        page = viewer("acme", role=role).get("/attention/").content.decode()
        assert (link in page) is offered, role


def test_what_is_put_right_needs_no_attention(viewer: Viewer) -> None:  # noqa: F811
    mixed = batch("acme", "MIXED", label="Harm")
    client = viewer("acme")
    assert len(keys(client, "/attention/state")) == 1
    assert "Harm ended mixed" in text(client.get("/").content.decode())
    requests.settle(mixed.pk, by="olga", why="Row 7 added")
    assert keys(client, "/attention/state") == []
    assert "ended mixed" not in text(client.get("/").content.decode())


def test_no_manager_at_all(viewer: Viewer) -> None:  # noqa: F811
    Node.objects.update(heartbeat=timezone.now() - timedelta(hours=2))
    batch("acme", "PENDING")
    client = viewer("acme")
    assert keys(client, "/attention/state") == ["attention", "node-1"]
    assert "No manager has been heard of" in text(client.get("/attention/").content.decode())


def test_a_frame_says_whether_there_is_news(viewer: Viewer) -> None:  # noqa: F811
    client = viewer("acme")
    first = client.get("/attention/state").json()
    again = client.get("/attention/state", {"since": first["seq"]}).json()
    assert again == {"t": "delta", "from": first["seq"], "to": first["seq"]}
    unresolved("acme")
    assert client.get("/attention/state", {"since": first["seq"]}).json()["t"] == "snap"


def test_what_nobody_owns(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    over, theirs = batch("acme", label="Over"), batch("globex")
    acme, globex = (Customer.objects.get(slug=slug).pk for slug in ("acme", "globex"))
    CustomerDatabase.objects.create(customer_id=acme, name="crm", alias="demo_crm")
    seen = Sees(
        Orphan("gid-a", "demo_crm", over.pk, acme), Orphan("gid-b", "demo_crm", theirs.pk, globex),
        Orphan("gid-c", "demo_crm", None, None), blind=("demo_ledger",),
    )  # fmt: skip
    monkeypatch.setattr(attention, "LOOKOUT", seen)
    client = viewer("acme")
    assert keys(client, "/attention/state") == ["gid-gid-a"]
    assert "Prepared transaction gid-a is still in crm, and its batch is over" in text(
        client.get("/attention/").content.decode()
    )
    root = Client(headers={"host": "localhost"})
    root.force_login(get_user_model().objects.create_superuser("root"))
    assert keys(root, "/attention/state") == ["gid-gid-a", "gid-gid-b", "gid-gid-c", "blind"]
    assert "could not look for prepared transactions on demo_ledger" in text(root.get("/attention/").content.decode())


def test_what_is_anothers_hides_nothing(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    over, theirs = batch("acme"), batch("globex")
    acme, globex = (Customer.objects.get(slug=slug).pk for slug in ("acme", "globex"))
    many = [Orphan(f"gid-a{number:03}", "demo_crm", theirs.pk, globex) for number in range(attention_orphans.MOST)]
    monkeypatch.setattr(attention, "LOOKOUT", Sees(*many, Orphan("gid-b", "demo_crm", over.pk, acme)))
    assert keys(viewer("acme"), "/attention/state") == ["gid-gid-b"]
    assert len(keys(viewer("globex"), "/attention/state")) == attention_orphans.MOST


def test_a_gid_of_an_open_batch_is_owned(settings: Any) -> None:
    settings.COORDINATION_UNRESOLVED_SECONDS = 60
    from coordination.protocol import gid as gids
    from coordination.protocol.holdings import Found

    running, over = batch("acme", "ACTIVE"), batch("acme")

    def found(of: Any, age: float = 100) -> Found:
        named = gids.build(installation="5eed5eed", batch=of, branch=1, round=0, token="0" * 16)
        return Found(gid=named, age=age, alias="demo_crm")

    unknown = uuid4()
    seen = [found(running.pk), found(over.pk), found(unknown), found(uuid4(), age=30)]
    orphans = attention_orphans._unaccounted(seen)
    assert {one.batch for one in orphans} == {over.pk, None}
    assert {one.gid for one in orphans} == {found(over.pk).gid, found(unknown).gid}


def test_a_database_that_stands_still_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    answer = threading.Event()

    class StandsStill:
        def __init__(self, alias: str, **kwargs: Any) -> None:
            begun.append(alias)

        def recover(self) -> list[Any]:
            answer.wait(30)
            return []

        def close(self) -> None:
            pass

    monkeypatch.setattr(attention_orphans, "PostgreSQLResource", StandsStill)
    monkeypatch.setattr(attention_orphans.registry, "aliases", lambda: ["demo_crm"])
    monkeypatch.setattr(attention_orphans, "EVERY", 0.0)
    monkeypatch.setattr(attention_orphans, "FIRST", 0.05)
    lookout = attention_orphans.Lookout()
    assert {lookout.sight().blind for _ in range(3)} == {("demo_crm",)} and begun == ["demo_crm"]
    answer.set()
    deadline = time.monotonic() + 10
    while lookout.sight().blind and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() < deadline
