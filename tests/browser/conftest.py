"""The whole site, a history in its journal, and a browser: once for all tests in this folder."""

import os
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.visit import People
from tests.services import Site, history
from tests.services.machine import find_program


def chromium() -> str:
    """Where the browser is. One that is missing fails the tests; `make test` installs it for root on Debian."""
    return find_program("chromium", "/usr/bin", package="chromium")


@pytest.fixture(scope="package")
def running(whole_site: Site) -> Iterator[Site]:
    """The site with a node, a worker of two slots and the web server."""
    # What tests of other files have left mixed would stand first on every page.
    whole_site.query("default", "UPDATE coordination_batch SET state = 'ROLLED_BACK' WHERE state = 'MIXED' RETURNING 1")
    with whole_site.node(wait=False) as node, whole_site.worker("prefork", 2, wait=False) as worker:
        whole_site.web()
        node.wait_for(r"Node .* ready", 40)
        worker.wait_for(r"@test ready\.", 40)
        yield whole_site
        whole_site.stop_processes()


@pytest.fixture(scope="package")
def sessions(running: Site) -> dict[str, str]:
    """The demo's people, and the session of each."""
    return history.people(running)


@pytest.fixture(scope="package")
def ids(running: Site, sessions: dict[str, str]) -> dict[str, str]:
    """Ids of the history's batches, by "customer: label"."""
    return history.seed(running)


@pytest.fixture(scope="package")
def large(ids: dict[str, str], running: Site) -> str:
    """Id of a past batch of 10,000 tasks."""
    program = (
        "import django; django.setup()\n"
        "from tests.services.history import S, DIVISION, Story, hours, store\n"
        "print(store(Story(customer='acme', label='Ten thousand', state=S.ROLLED_BACK, age=hours(6), tasks=10_000,\n"
        "    failed=dict.fromkeys(range(4_000, 5_000, 50), DIVISION), reason='Task 4000 of 10,000 failed')))"
    )
    return running.run([sys.executable, "-c", program], check=True).stdout.strip()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), env={**os.environ, "TZ": "Europe/Berlin"})
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def people(running: Site, browser: Browser, sessions: dict[str, str]) -> People:
    return People(browser, running.public_url, sessions)
