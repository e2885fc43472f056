"""Alerts: each matter once, whoever sees it and however often it is restarted; and a POST that is tried again."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.checks import run_checks
from django.db import connections
from django.utils import timezone

from coordination import conf
from coordination.journal import alerts
from coordination.journal.pool import JournalPool
from coordination.manager.alerts import Alerts
from coordination.models import Alert, Batch, Branch, Installation, Node

from .test_web_customers import batch

pytestmark = pytest.mark.django_db(transaction=True)


class Listener:
    """A real little server that takes alerts, and answers with the codes that it is told, then 204."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.hold.wait(20)
                listener.bodies.append({**json.loads(body), "type": self.headers["Content-Type"]})
                self.send_response(listener.codes.pop(0) if listener.codes else 204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts?key=s3cret"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.stop()


@pytest.fixture
def node(transactional_db: None) -> Iterator[Callable[..., Alerts]]:
    """The alerts of a node of that name, with a pool of its own."""
    # The first migration's row, which emptying the tables after another test has taken.
    Installation.objects.get_or_create(id=conf.installation())
    pools: list[JournalPool] = []

    def make(name: str = "one", **options: Any) -> Alerts:
        pools.append(JournalPool(1))
        return Alerts(name, pools[-1], **options)

    yield make
    for pool in pools:
        asyncio.run(pool.run(connections.close_all))
        pool.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)

    def lines() -> list[str]:
        errors = [one for one in caplog.records if (one.name, one.levelname) == ("coordination.attention", "ERROR")]
        caplog.clear()
        return [one.getMessage() for one in errors]

    return lines


def stuck() -> Batch:
    made = batch("acme", "COMMITTING", ago=200, label="Quarter", decision="COMMIT")
    Branch.objects.create(
        batch=made, number=1, task="load", name="load", database="crm", alias="demo_crm", kind="two_phase",
        state="PREPARED", gid="gid1",
    )  # fmt: skip
    return made


def looks(*nodes: Alerts) -> None:
    async def all_look() -> None:
        await asyncio.gather(*(one.say() for one in nodes))
        await asyncio.gather(*(one.send() for one in nodes))

    asyncio.run(all_look())


def test_each_matter_is_said_once_by_all_nodes_together(
    node: Callable[..., Alerts], said: Callable[[], list[str]]
) -> None:
    one, unresolved = batch("acme", "MIXED", label="Harm"), stuck()
    batch("acme", "COMMITTED")
    batch("acme", "MIXED", ago=3 * 86_400, label="Old harm")
    nodes = [node("one"), node("two"), node("three")]
    looks(*nodes)
    assert sorted(said()) == [
        f"Batch Harm ({one.pk}) of Acme: Not all of its tasks ended as decided.",
        f"Batch Quarter ({unresolved.pk}) of Acme: Decided, but task 1 (database crm) is not finished yet.",
    ]
    looks(*nodes, node("four, after a restart"))
    assert said() == []
    Batch.objects.filter(pk=unresolved.pk).update(state="MIXED", ended=timezone.now())
    looks(*nodes)
    assert len(said()) == 1, "what was unresolved and ends mixed is another matter"


def test_a_silent_node_is_said_by_another_and_again_when_it_falls_silent_again(
    node: Callable[..., Alerts], said: Callable[[], list[str]]
) -> None:
    Node.objects.create(name="one", heartbeat=timezone.now() - timedelta(seconds=30))
    looks(node("one"))
    assert said() == []
    looks(node("two"))
    (line,) = said()
    assert line.startswith("Manager one has not been heard of since ")
    Node.objects.update(heartbeat=timezone.now())
    looks(node("two"))
    Node.objects.update(heartbeat=timezone.now() - timedelta(seconds=11))
    looks(node("two"))
    assert len(said()) == 1


def test_what_is_said_is_posted(
    node: Callable[..., Alerts], listener: Listener, settings: Any, said: Callable[[], list[str]]
) -> None:
    settings.COORDINATION_ALERT_URL = listener.url
    settings.COORDINATION_PUBLIC_URL = "https://batches.example.com"
    made = stuck()
    looks(node("one"), node("two"))
    (body,) = listener.bodies
    assert list(body) == [
        *("version", "id", "kind", "text", "at", "installation", "customer", "batch", "url", "type"),
    ]
    assert (body["version"], body["kind"], body["customer"], body["batch"]) == (1, "unresolved", "acme", str(made.pk))
    assert body["url"] == f"https://batches.example.com/c/acme/b/{made.pk}/" and body["type"] == "application/json"
    assert [body["text"]] == said()
    assert Alert.objects.get().sent is not None
    looks(node("one"))
    assert len(listener.bodies) == 1


def test_a_post_that_fails_is_tried_again_and_given_up_at_last(
    node: Callable[..., Alerts], listener: Listener, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings.COORDINATION_ALERT_URL = listener.url
    listener.codes = [500, 503]
    stuck()
    impatient = node("one", pauses=(0.0, 0.0))
    for _ in range(3):
        looks(impatient)
    assert len(listener.bodies) == 3 and Alert.objects.get().sent is not None

    Alert.objects.update(sent=None, tries=0, next_try=timezone.now() - timedelta(seconds=1))
    listener.codes = [500] * 9
    for _ in range(5):
        looks(impatient)
    assert len(listener.bodies) == 6, "three tries, and no more"
    assert (Alert.objects.get().sent, Alert.objects.get().next_try) == (None, None)
    assert "is given up: HTTPError 500" in caplog.text and "s3cret" not in caplog.text


def test_an_address_where_nobody_is_holds_nothing_up(
    node: Callable[..., Alerts], listener: Listener, settings: Any, said: Callable[[], list[str]]
) -> None:
    listener.hold.clear()
    settings.COORDINATION_ALERT_URL = listener.url
    stuck()

    lines: list[str] = []

    async def lives() -> None:
        running = asyncio.create_task(node("one", every=0.05).run())
        while not await sync_to_async(Alert.objects.filter(tries=1).exists)():
            await asyncio.sleep(0.02)
        await sync_to_async(batch)("acme", "MIXED", label="Harm")
        while await sync_to_async(Alert.objects.count)() < 2:  # said although the first is still being posted
            await asyncio.sleep(0.02)
        while len(lines) < 2:  # stored first, then said
            lines.extend(said())
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sync_to_async(connections.close_all)()

    asyncio.run(asyncio.wait_for(lives(), 30))
    assert len(lines) == 2 and listener.bodies == []


def test_without_an_address_nothing_is_kept_to_send(node: Callable[..., Alerts]) -> None:
    stuck()
    looks(node("one"))
    assert Alert.objects.get().next_try is None


@pytest.mark.parametrize(("url", "wrong"), [("", 0), ("https://hooks.example.com/x", 0), ("file:///etc/passwd", 1)])
def test_only_addresses_of_the_web(settings: Any, url: str, wrong: int) -> None:
    settings.COORDINATION_ALERT_URL = url
    assert len([one for one in run_checks() if one.id == "coordination.E008"]) == wrong


def test_an_alert_whose_batch_is_deleted_meanwhile_is_not_due(node: Callable[..., Alerts]) -> None:
    assert alerts._read(-1) is None


def test_a_defect_in_alerting_does_not_end_the_node(
    node: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def fail(name: str) -> list[alerts.Raised]:
        calls.append(name)
        raise Alert.DoesNotExist("gone")

    monkeypatch.setattr(alerts, "raise_new", fail)

    async def run() -> None:
        work = asyncio.create_task(node(every=0.01).run())
        while len(calls) < 3 and not work.done():
            await asyncio.sleep(0.01)
        assert not work.done()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    assert "Nobody could be alerted for now." in caplog.messages
