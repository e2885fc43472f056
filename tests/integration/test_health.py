"""What supervisors ask: whether a process lives, and whether it can work."""

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.services import Site


@pytest.fixture(scope="module")
def web(whole_site: Site) -> Iterator[Site]:
    with whole_site.web():
        yield whole_site


def ask(site: Site, path: str) -> tuple[int, Any]:
    """Status and answer, which must come within three seconds and a bit."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(f"{site.public_url}/{path}", timeout=10) as answer:
            status, body = answer.status, answer.read().decode()
    except HTTPError as error:
        status, body = error.code, error.read().decode()
    assert time.monotonic() - began < 3.5
    return status, json.loads(body) if path == "readyz" else body


def is_ready(site: Site) -> bool:
    return ask(site, "readyz") == (200, {"ready": True, "missing": {}})


def test_all_is_there(web: Site) -> None:
    assert is_ready(web)
    assert ask(web, "livez") == (200, "alive\n")


@pytest.mark.parametrize("part", ["journal", "broker", "layer"])
def test_what_is_missing_is_named(web: Site, part: str) -> None:
    server: Any = {"journal": web.postgres, "broker": web.rabbitmq, "layer": web.redis}[part]
    server.kill()
    try:
        status, answer = ask(web, "readyz")
        assert (status, answer) == (503, {"ready": False, "missing": {part: "it cannot be reached"}})
        assert ask(web, "livez")[0] == 200
    finally:
        server.start()
    web.wait_until(lambda: is_ready(web), 15, what="ready again")


def test_a_broker_that_does_not_answer_holds_nothing_up(web: Site) -> None:
    assert web.rabbitmq.process is not None
    web.rabbitmq.process.suspend()
    try:
        for _ in range(4):  # more often than there are threads to wait in
            status, answer = ask(web, "readyz")
            assert status == 503 and list(answer["missing"]) == ["broker"]
        assert ask(web, "livez")[0] == 200
    finally:
        web.rabbitmq.process.resume()
    web.wait_until(lambda: is_ready(web), 15, what="ready again")


def test_tables_that_are_not_up_to_date(web: Site) -> None:
    last = "SELECT name FROM django_migrations WHERE app = 'coordination' ORDER BY name DESC LIMIT 1"
    name = web.value("default", last)
    applied = web.value("default", "DELETE FROM django_migrations WHERE name = %s RETURNING applied", [name])
    try:
        status, answer = ask(web, "readyz")
        assert status == 503
        assert answer["missing"] == {"migrations": f"not applied: coordination.{name}; run manage.py migrate"}
    finally:
        put_back = "INSERT INTO django_migrations (app, name, applied) VALUES ('coordination', %s, %s)"
        web.query("default", put_back, [name, applied])
    assert is_ready(web)


def test_a_node_and_a_worker_say_that_they_are_healthy(site: Site) -> None:
    assert site.manage("health", "worker").returncode == 1
    with site.node(wait=False) as node, site.worker():
        node.wait_for(r"Node .* ready")
        for what, words in (("node", "is heard of"), ("worker", "1 worker reads queue celery")):
            done = site.manage("health", what)
            assert done.returncode == 0 and words in done.stdout, done.stderr
    site.query("default", "UPDATE coordination_node SET heartbeat = heartbeat - interval '10 seconds'")
    done = site.manage("health", "node")
    assert done.returncode == 1 and "has been heard of for 10 s" in done.stderr, done.stdout
