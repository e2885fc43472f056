"""Two nodes at work, one an hour ahead and one an hour behind: they share, hand over, and can do without a layer."""

import json
import signal
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import amqp
import pytest
from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from channels.sessions import CookieMiddleware
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.test import Client

from coordination.api import launch
from coordination.bus.topology import POISON_BYTES, Topology, vote_key
from coordination.live.routing import websocket_urlpatterns
from coordination.models import Batch, Branch
from coordination.protocol.encoding import encode
from coordination.protocol.messages import Stop, Withdrawn, WithdrawnItem
from tests.faults.crashing import name_of, wrong_clock
from tests.integration.batches import doubled, ended, field, in_state, nothing_left, rows
from tests.services import Process, Site

OPEN = 100
"""Batches that are open when their node is stopped."""
TIGHT = {"DJANGO_SETTINGS_MODULE": "tests.faults.tight_layer"}
"""Every hint of a node is dropped while the one before it has not been fetched."""


@pytest.fixture(scope="module")
def nodes(whole_site: Site) -> Iterator[list[Process]]:
    """One whose clock is an hour ahead and one whose clock is an hour behind; customers, and a worker."""
    whole_site.demo_data()
    with (
        whole_site.worker("prefork", 2),
        whole_site.node(env={**wrong_clock("+3600"), **TIGHT}) as ahead,
        whole_site.node(env={**wrong_clock("-3600"), **TIGHT}) as behind,
    ):
        yield [ahead, behind]


def begin(customer: str = "acme", *, deadline: float | None = None, **params: Any) -> str:
    """Launch a batch of plan demo; its id."""
    limit = None if deadline is None else timedelta(seconds=deadline)
    return str(launch(customer, "demo", {"fail_at": 0, "rows": 1, "seconds": 0, **params}, deadline=limit).id)


def many(pattern: str, count: int, **branch: str) -> list[str]:
    """So many batches like ``pattern``, which has one task, launched in one moment; ``branch`` changes their task."""
    like, task = Batch.objects.get(pk=pattern), Branch.objects.get(batch=pattern)
    same = {"customer", "plan", "params", "tasks", "guarantee", "start_by", "deadline_seconds"}
    batches = [Batch(**{name: getattr(like, name) for name in same}) for _ in range(count)]
    columns = {"number", "task", "name", "database", "alias", "args"}
    with transaction.atomic():
        Batch.objects.bulk_create(batches)
        Branch.objects.bulk_create(
            Branch(batch=batch, **{**{name: getattr(task, name) for name in columns}, **branch}) for batch in batches
        )
    return [str(batch.pk) for batch in batches]


def test_clocks_that_are_an_hour_off_change_nothing(nodes: list[Process], orm: Site) -> None:
    """Row 40. Leases and deadlines go by the database's clock: nobody loses a batch, or decides too early or late."""
    site = orm
    late = [begin(customer, deadline=2, tasks=1, seconds=4) for customer in ("acme", "globex")]
    assert [ended(site, batch) for batch in late] == ["ROLLED_BACK"] * 2
    for batch in late:
        took = float(field(site, batch, "extract(epoch FROM decided - dispatched)"))
        print(f"\ndecided {took:.2f} s after its dispatch, with a deadline of 2 s")
        assert 2 <= took < 5
        assert field(site, batch, "reason").startswith("Deadline passed")
    first = begin(tasks=1)
    assert ended(site, first) == "COMMITTED"
    batches = many(first, 24)
    assert {ended(site, batch) for batch in batches} == {"COMMITTED"}
    # Both had their share, each kept what it had, and what they wrote has the database's time.
    assert {field(site, batch, "node") for batch in batches} == {name_of(site, node) for node in nodes}
    assert {field(site, batch, "epoch") for batch in batches} == {1}
    fresh = "ended - created < interval '1 min' AND deadline - dispatched BETWEEN '899 s' AND '901 s'"
    assert all(field(site, batch, fresh) for batch in batches)
    nothing_left(site, *batches, *late)


def test_poison_is_set_aside_and_the_others_go_on(nodes: list[Process], orm: Site) -> None:
    """Row 8. Bad JSON, wrong types, another batch's, 20 MB: kept for people as far as they fit, and out of the way."""
    site, names, unknown = orm, Topology(orm.installation), uuid.uuid4()
    before = [len(node.log) for node in nodes]
    with site.rabbitmq.connect() as connection:
        channel = connection.channel()
        if names.poison in site.rabbitmq.queues():  # of another test's
            channel.queue_purge(names.poison)
        batch = begin(tasks=4, seconds=2)
        site.wait_until(lambda: in_state(site, batch, "RUNNING"), 20, every=0.02, what="a task at work")
        withdrawn = Withdrawn(batch=unknown, process="nobody", items=(WithdrawnItem(gid="none", reason="none"),))
        kinds = [
            b"{not JSON",
            b'{"v": 1, "type": "vote", "batch": 7, "items": "many"}',
            encode(Stop(batch=uuid.UUID(batch))),
            b"x" * 20_000_000,
        ]
        for key in (vote_key(uuid.UUID(batch), 1), vote_key(unknown, 1)):
            for body in (*kinds, encode(withdrawn)):
                channel.basic_publish(amqp.Message(body, delivery_mode=2), names.votes, key)
        assert ended(site, batch) == "COMMITTED"
        # A message of a batch that nobody knows is no poison: it is answered. In another batch's queue it is.
        site.wait_until(lambda: site.rabbitmq.queues()[names.poison].messages >= 9, 20, what="nine set aside")
        kept = [channel.basic_get(names.poison, no_ack=True) for _ in range(9)]
    assert {len(message.body) <= POISON_BYTES for message in kept} == {True}
    assert sorted(message.headers["bytes"] for message in kept)[-2:] == [20_000_000] * 2
    why = sorted(message.headers["why"] for message in kept)
    for words in ("not JSON", "not 32 hex digits", "Stop message is for agents", "20,000,000 bytes", "speaks of batch"):
        assert any(words in each for each in why), (words, why)
    said = "".join(node.log[start:] for node, start in zip(nodes, before, strict=True))
    assert said.count("was set aside") == 9 and "xxxx" not in said
    site.wait_until(lambda: not site.rabbitmq.queues()[names.strays].messages, 20, what="strays answered")
    assert (rows(site, batch), doubled(site, batch)) == (4, [])
    nothing_left(site, batch)


# --- without a channel layer ----------------------------------------------------------------------------------------


def browser(batch: str) -> WebsocketCommunicator:
    """The socket of somebody who looks at the batch."""
    client = Client()
    client.force_login(get_user_model().objects.get(username="acme_operator"))
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    application = CookieMiddleware(URLRouter(websocket_urlpatterns))
    return WebsocketCommunicator(application, f"/ws/batch/{batch}/", [(b"cookie", cookie.encode())])


async def seen(socket: WebsocketCommunicator) -> str:
    """Follow the batch as a page does, until it has ended; the states of its tasks by then."""
    states: list[str] = []
    while True:
        frame = json.loads(await socket.receive_from(timeout=30))
        if frame["t"] == "snap":
            states = list(frame["states"])
        for number, state in frame.get("c", ()):
            states[number - 1] = state
        if frame.get("state") == "COMMITTED":
            return "".join(states)
        await socket.send_to(json.dumps({"t": "have", "seq": frame.get("seq", frame.get("to"))}))


@pytest.mark.parametrize("layer", ["away", "drops"])
async def test_without_a_channel_layer_batches_complete_and_screens_catch_up(
    nodes: list[Process], orm: Site, layer: str
) -> None:
    """Rows 10, 12. Neither a node's wake-up nor a screen's hint arrives: both look by themselves."""
    site = orm
    # Nodes that have just started look at once; these have done so.
    before = await sync_to_async(begin)(tasks=1, seconds=1)
    assert await sync_to_async(ended)(site, before) == "COMMITTED"
    try:
        if layer == "away":
            await sync_to_async(site.redis.kill)()
        batch = await sync_to_async(begin)(tasks=6, seconds=0.3)
        socket = await sync_to_async(browser)(batch)
        assert (await socket.connect(timeout=10))[0]
        await socket.send_to(json.dumps({"t": "hello", "batch": batch, "have": -1}))
        assert await seen(socket) == "c" * 6
        late = time.time() - float(await sync_to_async(field)(site, batch, "extract(epoch FROM ended)"))
        await socket.disconnect()
        found = float(await sync_to_async(field)(site, batch, "extract(epoch FROM dispatched - created)"))
        print(f"\nlayer {layer}: dispatched {found:.2f} s after the launch; its end was seen {late:.2f} s after it")
        assert found < 3 and late < 4
        assert await sync_to_async(rows)(site, batch) == 6
        await sync_to_async(nothing_left)(site, batch)
    finally:
        await sync_to_async(site.redis.start)()
        await sync_to_async(connections.close_all)()


# --- a third one comes and goes -------------------------------------------------------------------------------------


def test_a_node_that_is_told_to_end_hands_hundreds_of_batches_over(nodes: list[Process], orm: Site) -> None:
    """Row 11. Within a second they are another node's; nothing is lost, and nothing runs twice."""
    site, leaving = orm, orm.node()
    name = name_of(site, leaving)
    tiny = begin("initech", tasks=1)
    assert ended(site, tiny) == "COMMITTED"
    count = "SELECT count(*) FROM coordination_batch WHERE id = ANY(%s) AND "
    site.postgres2.kill()
    try:
        # They wait for their database, as any open batch waits for something.
        batches = many(tiny, OPEN, alias="demo_crm", database="crm")
        began = time.monotonic()
        site.wait_until(
            lambda: site.value("default", count + "waiting_for <> ''", [batches]) == OPEN, 60, what="all of them wait"
        )
        print(f"\n{OPEN} batches claimed, each with its queue, in {time.monotonic() - began:.1f} s")
        had = site.value("default", count + "node = %s", [batches, name])
        assert OPEN / 6 < had < OPEN / 2  # of three nodes
        began = time.monotonic()
        leaving.send(signal.SIGTERM)
        site.wait_until(lambda: not site.value("default", count + "node = %s", [batches, name]), 15, every=0.02)
        took = time.monotonic() - began
        assert leaving.wait(10) == 0
        gone = time.monotonic() - began
        print(f"{had} of them handed over {took:.2f} s after SIGTERM; the node was gone after {gone:.2f} s")
        assert took < 3
    finally:
        site.postgres2.start()
    ending = count + "state = 'COMMITTED'"
    site.wait_until(lambda: site.value("default", ending, [batches]) == OPEN, 90, what="all of them committed")
    written = "SELECT count(*), count(DISTINCT batch_id) FROM demo_entry WHERE batch_id = ANY(%s)"
    assert site.query("demo_crm", written, [batches]) == [(OPEN, OPEN)]
    nothing_left(site, *batches)
