"""The pages of customers in a browser, on the real thing: starting a batch of each outcome, and watching them live."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.integration.launching import customers, launch
from tests.integration.test_live_page import browser, page, running, sign_in
from tests.services import Site

__all__ = ["browser", "customers", "page", "running"]

INERT = "<img src=x onerror=\"document.title='broken into'\">"


def start(page: Page, site: Site, label: str, **params: object) -> None:
    """Start a batch of acme as an operator does: the form, the dry run, and then the start."""
    page.goto(f"{site.public_url}/c/acme/")
    page.get_by_role("link", name="Start a batch").first.click()
    for name, value in params.items():
        page.get_by_label(name.capitalize().replace("_", " ")).fill(str(value))
    page.get_by_label("Label").fill(label)
    page.get_by_label("Label").press("Enter")  # which never starts anything
    expect(page.locator("#preview")).to_contain_text("guarantee: crash-safe, deadline 15 min.")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile(r"/c/acme/b/"))


@pytest.mark.parametrize("fail_at, outcome", [(0, "Committed"), (7, "Rolled back")])
def test_a_batch_is_started_and_its_end_is_seen_from_the_customers_page(
    running: Site, page: Page, fail_at: int, outcome: str
) -> None:
    label = f"{outcome} {INERT}"
    start(page, running, label, tasks=12, fail_at=fail_at, seconds=1)
    page.goto(f"{running.public_url}/c/acme/")
    page.evaluate("window.notLoadedAgain = true")
    expect(page.locator("#parts")).to_contain_text(label)
    row = page.get_by_role("row", name=label)
    expect(row).to_contain_text(outcome, timeout=40_000)
    expect(row).to_contain_text("acme_operator")
    expect(page.locator("#parts")).not_to_contain_text(label)
    expect(page.locator("#said")).to_contain_text(outcome)
    assert page.title() == "Acme" and page.evaluate("window.notLoadedAgain")


def test_a_card_follows_its_customer(running: Site, page: Page) -> None:
    page.goto(f"{running.public_url}/")
    card = page.locator('[data-part="acme"]')
    running.manage(
        *("launch_batch", "acme", "demo", "--no-wait", "--label=Seen from afar", "--param=tasks=8"),
        *("--param=fail_at=0", "--param=seconds=1"),
        check=True,
    )
    expect(card).to_contain_text("Running Seen from afar")
    expect(page).to_have_title(re.compile("running|◐"))
    expect(card).to_contain_text("8 tasks, all applied", timeout=40_000)
    expect(page.locator("#stale")).to_be_hidden()


def test_what_changes_after_the_dry_run_cannot_be_started(running: Site, page: Page) -> None:
    page.goto(f"{running.public_url}/c/acme/new/")
    page.get_by_label("Tasks").fill("4")
    page.get_by_role("button", name="Dry run").click()
    go = page.get_by_role("button", name="Start", exact=True)
    expect(go).to_be_enabled()
    expect(page.locator("#preview")).to_contain_text("4 tasks on 3 databases (crm, ledger, warehouse)")
    page.get_by_label("Rows").fill("3")
    expect(go).to_be_disabled()
    page.get_by_label("Deadline").fill("soon")
    page.get_by_role("button", name="Dry run again").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was started")
    expect(page.get_by_label("Deadline")).to_have_value("soon")
    expect(page.get_by_label("Rows")).to_have_value("3")


def test_a_page_outlives_the_web_process(running: Site, browser: Browser) -> None:
    page = browser.new_page()
    sign_in(running, page)
    page.goto(f"{running.public_url}/c/acme/")
    expect(page.locator("#stale")).to_be_hidden()
    web = next(process for process in running.processes if process.name.startswith("web"))
    web.kill()
    expect(page.locator("#stale")).to_contain_text("Not live — last update", timeout=10_000)
    done = launch(running, "--label=While nobody looked", tasks=3, fail_at=2)
    assert done.returncode == 3
    with running.web():
        expect(page.get_by_role("row", name="While nobody looked")).to_contain_text("Rolled back", timeout=40_000)
        expect(page.locator("#stale")).to_be_hidden(timeout=40_000)
    running.web()  # for the tests that follow: stopped with the others


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_phone(running: Site, browser: Browser, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 320, "height": 640})
    sign_in(running, page)
    for path in ("", "c/acme/", "c/acme/?q=nothing", "c/acme/new/", "c/acme/new/?plan=nothing"):
        page.goto(f"{running.public_url}/{path}")
        if path == "c/acme/new/":
            page.get_by_role("button", name="Dry run").click()
            expect(page.locator("#preview")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 320, path
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 640})
            found = Axe().run(page)
            assert found.violations_count == 0, (path, width, found.generate_report())
        page.set_viewport_size({"width": 320, "height": 640})
    page.goto(f"{running.public_url}/state")
    assert json.loads(page.locator("pre").inner_text())["t"] == "snap"
