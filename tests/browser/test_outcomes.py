"""Both outcomes as an operator sees them: started in the browser, watched to the end without loading the page again."""

import json
import re
import subprocess

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visit import NARROW, People, not_loaded_again, still_there
from tests.integration.launching import rows
from tests.services import Site

END = 40_000  # milliseconds
NOT_LIVE = re.compile(r"Not live — last update \d\d:\d\d:\d\d, reconnecting")
INERT = "<script>document.title = 'broken into'</script>"


def start(page: Page, site: Site, **filled: object) -> str:
    """Start a batch of the demo by its form, through the dry run; its id. The page is the batch's then."""
    page.goto(f"{site.public_url}/")
    page.get_by_role("link", name="Acme", exact=True).click()
    page.get_by_role("link", name="Start a batch").first.click()
    for name, value in filled.items():
        page.get_by_label(name.capitalize().replace("_", " "), exact=True).fill(str(value))
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("region", name="Dry run")).to_contain_text(
        re.compile(r"\d+ tasks on 3 databases .* guarantee: crash-safe, deadline 15 min")
    )
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile(r"/c/acme/b/[0-9a-f-]{36}/$"))
    not_loaded_again(page)
    return page.url.rstrip("/").rpartition("/")[2]


def banner(page: Page) -> str:
    return page.get_by_label("How the batch stands").inner_text()


def expect_banner(page: Page, words: str) -> None:
    expect(page.get_by_label("How the batch stands")).to_contain_text(words, timeout=END)


def count_of(page: Page, word: str) -> int:
    """How many tasks are in the state that people call ``word``."""
    found = page.get_by_label("Tasks by state").get_by_role("link", name=word).inner_text()
    return int(re.sub(r"\D", "", found))


def test_the_default_demo_rolls_back_and_says_why(running: Site, people: People) -> None:
    with people.watched() as page:
        batch = start(page, running)
        expect_banner(page, "Rolled back – nothing of it is applied")
        expect_banner(page, "Task 50 of 100 failed: ZeroDivisionError: division by zero")
        expect(page).to_have_title(re.compile("^✕ 1 failed"))
        assert still_there(page)
        assert rows(running, batch) == [0, 0, 0]
        assert count_of(page, "Failed") == 1
        page.get_by_role("link", name="Errors").click()
        expect(page.get_by_label("Errors")).to_contain_text("ZeroDivisionError")
        page.get_by_label("Errors").get_by_role("link", name="50", exact=True).click()
        expect(page.get_by_role("heading", name="Task 50")).to_be_visible()
        assert still_there(page)


def test_without_a_failing_task_it_commits_with_all_rows(running: Site, people: People) -> None:
    with people.watched() as page:
        batch = start(page, running, fail_at=0)
        expect_banner(page, "Committed – all of it is applied")
        expect(page).to_have_title(re.compile("^✓ Committed"))
        assert still_there(page)
        assert rows(running, batch) == [340, 330, 330]
        assert count_of(page, "Committed") == 100


def test_one_that_runs_is_cancelled_and_launched_again(running: Site, people: People) -> None:
    with people.watched() as page:
        first = start(page, running, tasks=16, fail_at=0, seconds=0.5)
        expect_banner(page, "Running")
        page.get_by_text("Cancel batch…").click()
        page.get_by_label("Why it is to be cancelled").fill("wrong files")
        page.get_by_role("button", name="Cancel batch").click()
        expect_banner(page, "Rolled back – nothing of it is applied")
        assert "acme_operator" in banner(page) and "wrong files" in banner(page)
        assert rows(running, first) == [0, 0, 0]
        page.get_by_role("link", name="Journal").click()
        expect(page.locator("#panel-journal")).to_contain_text("acme_operator: Cancel asked: wrong files")
        page.get_by_text("Launch again…").click()
        page.get_by_role("button", name="Launch again").click()
        page.wait_for_url(lambda url: "/b/" in url and first not in url)
        page.get_by_role("link", name="Timeline").click()  # opened while it runs, it goes along to the end
        expect_banner(page, "Committed – all of it is applied")
        expect(page.get_by_role("figure")).to_contain_text("16 tasks by state, from the dispatch to the end")
        expect(page.get_by_text("Launched again from")).to_be_visible()
        second = page.url.split("?")[0].rstrip("/").rpartition("/")[2]
        assert sum(rows(running, second)) == 160


def launched_elsewhere(site: Site, *args: str) -> "subprocess.CompletedProcess[str]":
    return site.manage("launch_batch", "acme", "demo", "--no-wait", "--json", *args, check=True)


@pytest.mark.parametrize("fail_at, word", [(0, "Committed"), (3, "Rolled back")])
def test_what_a_command_launches_is_seen_live_too(running: Site, people: People, fail_at: int, word: str) -> None:
    """Its label is markup, which stays text; its table goes along to the end."""
    label = f"{INERT} {word}"
    with people.watched() as page, people.watched() as batch:
        page.goto(f"{running.public_url}/c/acme/")
        not_loaded_again(page)
        done = launched_elsewhere(
            running, f"--label={label}", "--param=tasks=6", "--param=seconds=0.5", f"--param=fail_at={fail_at}"
        )
        expect(page.get_by_role("article", name=label)).to_contain_text(re.compile(r"Running|Pending"))
        batch.goto(json.loads(done.stdout)["url"] + "?tab=table")
        not_loaded_again(batch)
        expect_banner(batch, word)
        expect(page.get_by_role("row", name=label)).to_contain_text(word)
        assert still_there(page) and page.title() == "Acme"
        expect(batch.get_by_role("heading", level=1)).to_have_text(label)
        expect(batch.get_by_text("Cancel batch…")).to_be_hidden()
        expect(batch.get_by_text(NOT_LIVE)).to_be_hidden()
        (expect_failed if fail_at else expect_committed)(batch)
        assert still_there(batch) and batch.title().endswith(f" · {label} · Acme")


def expect_committed(page: Page) -> None:
    """The table shows six committed tasks, and the counts no others."""
    expect(page.locator('#tasks tr[data-state="COMMITTED"]')).to_have_count(6)
    expect(page.locator('.counts [data-state="RUNNING"]')).to_be_hidden()
    assert count_of(page, "Committed") == 6
    assert page.title().startswith("✓ Committed · ")


def expect_failed(page: Page) -> None:
    """The third of six tasks says in the table why it failed; on a phone no word of it is broken into letters."""
    row = page.locator('#tasks tr[data-number="3"]')
    expect(row).to_contain_text("Failed")
    expect(row.locator(".error")).to_contain_text("ZeroDivisionError: ")
    page.set_viewport_size(NARROW)
    expect(page.locator("#tasks")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    # In one go: the rows may be replaced at any moment.
    assert 0 < page.evaluate("document.querySelector('#tasks tbody tr').offsetHeight") < 120
