"""The live page in a browser, on the real thing: it follows a batch to its end, heals, and says when it is not live."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect, sync_playwright

from tests.integration.launching import customers
from tests.services import Site

__all__ = ["customers"]

CHROMIUM = "/usr/bin/chromium"
PASSWORD = "for the tests"
INERT = "<script>document.title = 'broken into'</script>"


@pytest.fixture(scope="module")
def running(customers: Site) -> Iterator[Site]:
    """The site with a node, a worker of two slots, and the web server."""
    with customers.node(), customers.worker("prefork", 2), customers.web():
        yield customers


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(running: Site, browser: Browser) -> Iterator[Page]:
    """A page that acme's operator is signed in on; an error in its console fails the test."""
    page = browser.new_page()
    page.set_default_timeout(20_000)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    sign_in(running, page)
    yield page
    assert wrong == []


def sign_in(site: Site, page: Page) -> None:
    page.goto(f"{site.public_url}/")
    page.get_by_label("Username").fill("acme_operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Customers")).to_be_visible()


def launch(site: Site, *args: str, **params: object) -> str:
    """Launch a batch, do not wait, and return its page's address."""
    given = [f"--param={name}={value}" for name, value in params.items()]
    done = site.manage("launch_batch", "acme", "demo", *given, "--no-wait", "--json", *args, check=True)
    return str(json.loads(done.stdout)["url"])


def state_of(page: Page, number: int) -> str:
    return page.locator(f'#tasks tr[data-number="{number}"] .word').inner_text()


def test_a_batch_is_seen_to_its_end_without_loading_the_page_again(running: Site, page: Page) -> None:
    page.goto(launch(running, f"--label={INERT}", tasks=6, fail_at=0, seconds=1) + "?tab=table")
    page.evaluate("window.notLoadedAgain = true")
    expect(page.locator("#batch-words")).to_contain_text("Running")
    expect(page.locator("h1")).to_have_text(INERT)
    expect(page.locator("#batch-words")).to_contain_text("Committed – all of it is applied", timeout=40_000)
    expect(page.locator('.counts [data-state="COMMITTED"] .count')).to_have_text("6")
    expect(page.locator('#tasks tr[data-state="COMMITTED"]')).to_have_count(6)
    expect(page.locator('.counts [data-state="RUNNING"]')).to_be_hidden()
    assert page.title() == f"✓ Committed · {INERT} · Acme"
    assert page.evaluate("window.notLoadedAgain")
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#cancel")).to_be_hidden()
    page.get_by_role("link", name="Acme").click()
    expect(page.get_by_role("row", name=INERT)).to_contain_text("Committed")


def test_a_failed_task_says_why(running: Site, page: Page) -> None:
    page.goto(launch(running, tasks=6, fail_at=4, seconds=0.5) + "?tab=table")
    expect(page.locator("#batch-words")).to_contain_text("Rolled back – nothing of it is applied", timeout=40_000)
    expect(page.locator("#why")).to_contain_text("Task 4 of 6 failed: ZeroDivisionError")
    expect(page.locator('#tasks tr[data-number="4"] .error')).to_contain_text("ZeroDivisionError: ")
    assert state_of(page, 4) == "Failed"


def test_an_operator_cancels_and_the_page_says_so(running: Site, page: Page) -> None:
    page.goto(launch(running, tasks=20, fail_at=0, seconds=2))
    expect(page.locator("#batch-words")).to_contain_text("Running")
    page.get_by_text("Cancel batch…").click()
    page.get_by_label("Why it is to be cancelled").fill("wrong files")
    page.get_by_role("button", name="Cancel batch").click()
    expect(page.locator("#batch-words")).to_contain_text("Rolled back", timeout=40_000)
    expect(page.locator("#why")).to_contain_text("wrong files")
    page.get_by_role("link", name="Journal").click()
    expect(page.locator("#panel-journal")).to_contain_text("acme_operator: Cancel asked: wrong files")


def test_the_page_is_there_at_a_phones_width(running: Site, page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(launch(running, tasks=3, fail_at=2) + "?tab=table")
    expect(page.locator("#batch-words")).to_contain_text("Rolled back", timeout=40_000)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    # In one go: the rows may be replaced at any moment. A name is not broken into letters.
    assert 0 < page.evaluate("document.querySelector('#tasks tbody tr').offsetHeight") < 120


def test_a_page_without_a_socket_says_so_keeps_asking_and_comes_back(running: Site, browser: Browser) -> None:
    page = browser.new_page()
    sign_in(running, page)
    refusing = True

    def between(route: WebSocketRoute) -> None:
        if refusing:
            route.close()
        else:
            route.connect_to_server()

    page.route_web_socket("**/ws/batch/**", between)
    page.goto(launch(running, tasks=4, fail_at=0, seconds=1))
    expect(page.locator("#stale")).to_have_text(re.compile(r"Not live — last update \d\d:\d\d:\d\d, reconnecting"))
    expect(page.locator("#batch-words")).to_contain_text("Committed", timeout=40_000)
    expect(page.locator("#stale")).to_be_visible()
    refusing = False
    expect(page.locator("#stale")).to_be_hidden(timeout=40_000)
    expect(page.locator('#tasks tr[data-state="COMMITTED"]')).to_have_count(4)


def test_a_page_whose_session_is_gone_asks_to_sign_in_again(running: Site, browser: Browser) -> None:
    page = browser.new_page()
    sign_in(running, page)
    page.goto(launch(running, tasks=3, fail_at=2))
    expect(page.locator("#batch-words")).to_contain_text("Rolled back", timeout=40_000)
    page.context.clear_cookies()
    page.evaluate("dispatchEvent(new Event('online'))")  # the page opens its socket anew
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
