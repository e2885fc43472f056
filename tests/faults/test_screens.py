"""Screens while something is missing, and screens in a crowd."""

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore

from tests.integration.batches import ended, field, in_state, nothing_left, rows, start
from tests.services import Site

ALARM = "RabbitMQ: an alarm on its memory or disk holds messages back"


@pytest.fixture(scope="module")
def running(whole_site: Site) -> Iterator[Site]:
    """A node, a worker that knows the demo's tasks only, and a web server."""
    whole_site.manage("demo_data", check=True, env={"DEMO_PASSWORD": "for the tests"})
    with whole_site.node(), whole_site.worker("prefork", 2), whole_site.web():
        yield whole_site


@pytest.fixture
def session(running: Site, orm: Site) -> str:
    """The cookie of acme's operator."""
    user = get_user_model().objects.get(username="acme_operator")
    store = SessionStore()
    store[SESSION_KEY], store[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store.save()
    return f"sessionid={store.session_key}"


def shown(site: Site, session: str, batch: str) -> str:
    """What the batch's page says, as one text."""
    request = urllib.request.Request(f"{site.public_url}/c/acme/b/{batch}/", headers={"Cookie": session})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def ready(site: Site) -> tuple[int, Any]:
    """Status and answer of /readyz."""
    try:
        with urllib.request.urlopen(f"{site.public_url}/readyz", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("raised", "lowered"),
    [
        pytest.param(("set_vm_memory_high_watermark", "absolute", "1MB"), ("absolute", "1GB"), id="memory"),
        pytest.param(("set_disk_free_limit", str(10**15)), ("50MB",), id="disk"),
    ],
)
def test_an_alarm(running: Site, site: Site, session: str, raised: tuple[str, ...], lowered: tuple[str, ...]) -> None:
    """Row 30. Publishing waits; the page and /readyz say for what; when it is over, the batch goes on and commits."""
    batch = start(site, tasks=16, fail_at=0, seconds=0.3)
    site.wait_until(lambda: in_state(site, batch, "PREPARED") >= 2, 30, what="two votes stored")
    began = time.monotonic()
    site.rabbitmq.ctl(*raised)
    try:
        site.wait_until(lambda: ALARM in shown(site, session, batch), 20, what="the page that says so")
        said = time.monotonic() - began
        status, answer = ready(site)
        assert status == 503 and "an alarm on its memory or disk" in answer["missing"]["broker"]
        assert field(site, batch, "decision") is None
    finally:
        site.rabbitmq.ctl(raised[0], *lowered)
    began = time.monotonic()
    assert ended(site, batch) == "COMMITTED"
    print(f"said {said:.1f} s after the alarm, ended {time.monotonic() - began:.1f} s after its end")
    assert rows(site, batch) == 160
    site.wait_until(lambda: ready(site)[0] == 200, 10, what="ready again")
    assert all(process.alive for process in site.processes)
    nothing_left(site, batch)


def test_a_queue_that_nobody_reads(running: Site, site: Site, session: str) -> None:
    """Row 47. The page says so at once, the deadline decides, and the reason lists what never started."""
    site.query("default", "UPDATE coordination_customer SET queue = 'deserted' WHERE slug = 'acme' RETURNING 1")
    try:
        launched = site.manage(
            "launch_batch", "acme", "demo", "--no-wait", "--json", "--deadline=8s", "--param=tasks=3", check=True
        )
        batch = json.loads(launched.stdout)["id"]
        began = time.monotonic()
        words = "Waiting for 3 of 3 tasks to vote, and for a worker: nobody reads queue deserted."
        site.wait_until(lambda: words in shown(site, session, batch), 7, what="the page that says so")
        print(f"said {time.monotonic() - began:.1f} s after the launch")
        assert ended(site, batch) == "ROLLED_BACK"
    finally:
        site.query("default", "UPDATE coordination_customer SET queue = '' WHERE slug = 'acme' RETURNING 1")
        site.rabbitmq.delete("deserted")
    assert field(site, batch, "reason") == "Deadline passed with 0 of 3 tasks prepared; never started: 1, 2, 3"
    nothing_left(site, batch)


def test_a_task_that_the_worker_does_not_know(running: Site, site: Site) -> None:
    """Row 47. Nobody waits for a deadline: the worker says that it does not know the task."""
    batch = start(site, "odd", how="swallows", path="unused")
    assert ended(site, batch) == "ROLLED_BACK"
    reason = field(site, batch, "reason")
    print(reason)
    assert "does not know task tests.integration.participant.odd.tasks." in reason and "restart it" in reason
    assert rows(site, batch) == 0
    nothing_left(site, batch)
