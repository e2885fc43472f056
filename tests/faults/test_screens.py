"""Screens while something is missing, and screens in a crowd."""

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.chaos import browsers
from tests.integration.batches import ended, field, in_state, nothing_left, rows, start
from tests.services import Process, Site

ALARM = "RabbitMQ: an alarm on its memory or disk holds messages back"
PASSWORD = "for the tests"
CROWD = 500


@pytest.fixture(scope="module")
def web(whole_site: Site) -> Iterator[Process]:
    """The web server, beside a node and a worker that knows the demo's tasks only."""
    whole_site.demo_data()
    with whole_site.node() as node, whole_site.worker("prefork", 2) as worker, whole_site.web() as process:
        yield process
        assert node.alive and worker.alive and process.alive


@pytest.fixture(scope="module")
def session(web: Process, whole_site: Site) -> str:
    """The cookie of acme's operator."""
    return browsers.session(whole_site, "acme_operator", PASSWORD)


@pytest.fixture(scope="module")
def crowd(web: Process, whole_site: Site, session: str) -> Iterator[tuple[str, int, "Future[browsers.Wave]"]]:
    """A batch, the web server's memory before, and a crowd that looks at the batch, begun beside the other tests."""
    batch = start(whole_site, tasks=3, fail_at=0)
    assert ended(whole_site, batch) == "COMMITTED"
    assert shown(whole_site, session, batch)
    before = memory(web)
    with ThreadPoolExecutor(1) as beside:
        yield batch, before, beside.submit(browsers.wave, whole_site, session, batch, CROWD)


def memory(process: Process, which: str = "VmRSS") -> int:
    """Megabytes, of now or (VmHWM) the most it ever had."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(which))


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
def test_an_alarm(site: Site, session: str, crowd: object, raised: tuple[str, ...], lowered: tuple[str, ...]) -> None:
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
    nothing_left(site, batch)


def test_a_queue_that_nobody_reads(site: Site, session: str) -> None:
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


def test_a_task_that_the_worker_does_not_know(web: Process, site: Site) -> None:
    """Row 47. Nobody waits for a deadline: the worker says that it does not know the task."""
    batch = start(site, "odd", how="swallows", path="unused")
    assert ended(site, batch) == "ROLLED_BACK"
    reason = field(site, batch, "reason")
    print(reason)
    assert "does not know task tests.integration.participant.odd.tasks." in reason and "restart it" in reason
    assert rows(site, batch) == 0
    nothing_left(site, batch)


def test_a_crowd(
    site: Site, web: Process, session: str, crowd: tuple[str, int, "Future[browsers.Wave]"]
) -> None:
    """Row 41. All have their snapshots, also when they come back at once; the one that never reads is let go."""
    batch, before, beside = crowd
    wave = beside.result(150)
    held = memory(web, "VmHWM")
    began = time.monotonic()
    again = browsers.crowd(site, session, batch, CROWD)
    took = time.monotonic() - began
    most = memory(web, "VmHWM")
    print(
        f"{CROWD} browsers: the last had its snapshot after {wave.last:.1f} s, again after {took:.1f} s; the silent one"
        f" was let go after {wave.dropped or 0:.0f} s; MB: {before} before, at most {held}, then {most}"
    )
    assert wave.served == CROWD and None not in again
    assert wave.dropped is not None
    assert held < before + 150, "a crowd costs no more than that"
    assert most < held + 40, "and coming back costs nothing"
    assert web.alive
