"""The pages of customers live, and the form that starts a batch."""

import re

from playwright.sync_api import expect

from tests.browser.test_honest import launch, stale
from tests.browser.test_outcomes import END, NOT_LIVE, start
from tests.browser.visit import People, not_loaded_again, still_there
from tests.services import Site

INERT = "<img src=x onerror=\"document.title='broken into'\">"


def test_a_started_batch_moves_from_open_to_past(running: Site, people: People) -> None:
    with people.watched() as page:
        start(page, running, label=INERT, tasks=12, fail_at=7, seconds=1)
        page.goto(f"{running.public_url}/c/acme/")
        not_loaded_again(page)
        expect(page.get_by_role("article", name=INERT)).to_be_visible()
        row = page.get_by_role("row", name=INERT)
        expect(row).to_contain_text("Rolled back", timeout=END)
        expect(row).to_contain_text("acme_operator")
        expect(page.get_by_role("article", name=INERT)).to_have_count(0)
        expect(page.get_by_role("status").first).to_contain_text("Rolled back")
        assert page.title() == "Acme" and still_there(page)


def test_a_card_follows_its_customer(running: Site, people: People) -> None:
    with people.watched() as page:
        page.goto(f"{running.public_url}/")
        card = page.get_by_role("region", name="Acme")
        launch(running, tasks=8, fail_at=0, seconds=0.7)
        expect(card).to_contain_text(re.compile("Running|Pending"))
        expect(page).to_have_title(re.compile("◐"))
        expect(card).to_contain_text("8 tasks, all applied", timeout=END)
        expect(page.get_by_text(NOT_LIVE)).to_be_hidden()


def test_what_changes_after_the_dry_run_cannot_be_started(running: Site, people: People) -> None:
    with people.watched() as page:
        page.goto(f"{running.public_url}/c/acme/new/")
        page.get_by_label("Tasks").fill("4")
        page.get_by_label("Tasks").press("Enter")  # which never starts anything
        go, dry_run = page.get_by_role("button", name="Start", exact=True), page.get_by_role("region", name="Dry run")
        expect(go).to_be_enabled()
        expect(dry_run).to_contain_text("4 tasks on 3 databases (crm, ledger, warehouse)")
        page.get_by_label("Rows").fill("3")
        expect(go).to_be_disabled()
        page.get_by_label("Deadline").fill("soon")
        page.get_by_role("button", name="Dry run again").click()
        expect(page.get_by_role("alert")).to_contain_text("Nothing was started")
        expect(page.get_by_label("Deadline")).to_have_value("soon")
        expect(page.get_by_label("Rows")).to_have_value("3")


def test_a_customers_page_outlives_the_web_process(running: Site, people: People) -> None:
    with people.page() as page:
        page.goto(f"{running.public_url}/c/acme/")
        expect(page.get_by_text(NOT_LIVE)).to_be_hidden()
        web = next(process for process in running.processes if process.name.startswith("web") and process.alive)
        web.kill()
        stale(page)
        launch(running, "--label=While nobody looked", tasks=3, fail_at=2)
        running.processes.remove(web)
        running.web()
        expect(page.get_by_role("row", name="While nobody looked")).to_contain_text("Rolled back", timeout=END)
        expect(page.get_by_text(NOT_LIVE)).to_be_hidden(timeout=END)
