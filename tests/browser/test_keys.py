"""Everything by keyboard, and everything that is looked at in the address."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visit import People
from tests.services import Site


@pytest.fixture
def page(running: Site, people: People, ids: dict[str, str]) -> Iterator[Page]:
    """A past batch of 1,200 tasks, of which 17 failed: 17, 78, 139 …"""
    with people.watched() as page:
        page.goto(f"{running.public_url}/c/acme/b/{ids['acme: Accounts from the old system']}/")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        yield page


def expect_address(page: Page, search: str) -> None:
    expect(page).to_have_url(re.compile(rf"/b/[0-9a-f-]+/{re.escape(search)}$"))


def expect_task(page: Page, number: int) -> None:
    expect(page.get_by_role("heading", name=f"Task {number} ")).to_be_focused()


def test_digits_choose_the_tabs(page: Page) -> None:
    tabs = page.get_by_label("Views of the tasks").get_by_role("link")
    names = [name.strip() for name in tabs.all_inner_texts()]
    assert names == ["Grid", "Table", "Errors", "Timeline", "Journal"]
    for place, name in reversed([*enumerate(names, start=1)]):
        page.keyboard.press(str(place))
        expect(page.get_by_role("region", name=name, exact=True).first).to_be_visible()
        expect(tabs.nth(place - 1)).to_have_attribute("aria-current", "page")
        expect_address(page, "" if name == "Grid" else f"?tab={name.lower()}")


def test_the_failed_ones_are_gone_through(page: Page) -> None:
    page.keyboard.press("n")
    expect_task(page, 17)
    expect_address(page, "?task=17")
    page.keyboard.press("n")
    expect_task(page, 78)
    page.keyboard.press("p")
    expect_task(page, 17)
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary")).to_be_hidden()
    expect_address(page, "")


def test_only_the_failed_ones_searched_and_found_again_by_the_address(page: Page) -> None:
    page.keyboard.press("2")
    page.keyboard.press("f")
    expect_address(page, "?tab=table&state=failed")
    expect(page.get_by_role("table").get_by_role("row")).to_have_count(18)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("139")
    page.keyboard.press("Enter")
    expect(page.get_by_role("table").get_by_role("row")).to_have_count(2)
    page.get_by_role("link", name="write_entries 139").press("Enter")
    expect_task(page, 139)
    expect_address(page, "?tab=table&state=failed&q=139&task=139")
    page.reload()
    expect(page.get_by_role("heading", name="Task 139 ")).to_be_visible()
    expect(page.get_by_role("table").get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("searchbox")).to_have_value("139")
    expect(page.get_by_label("Tasks by state").get_by_role("link", name="Failed")).to_have_attribute(
        "aria-current", "true"
    )
    page.keyboard.press("f")
    expect_address(page, "?tab=table&q=139&task=139")
    page.go_back()
    expect_address(page, "?tab=table&state=failed&q=139&task=139")


def test_the_grid_by_arrows(page: Page) -> None:
    grid = page.get_by_role("img", name=re.compile("Arrow keys move"))
    grid.focus()
    expect(page.get_by_text(re.compile(r"^Task 1\s"))).to_be_visible()
    for _ in range(16):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_text(re.compile(r"^Task 17\s+✕ Failed"))).to_be_visible()
    page.keyboard.press("Enter")
    expect_task(page, 17)
    page.keyboard.press("Escape")
    expect(grid).to_be_focused()


def test_help_theme_and_pause(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    background = "getComputedStyle(document.body).backgroundColor"
    colours = {}
    for theme in ("light", "dark"):
        page.keyboard.press("t")
        expect(page.get_by_role("button", name=f"Theme: {theme}")).to_be_visible()
        colours[theme] = page.evaluate(background)
    assert colours["light"] != colours["dark"]
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(background) == colours["dark"]
    page.keyboard.press("t")
    page.keyboard.press(" ")
    expect(page.get_by_text("Paused, 0 changes held back")).to_be_visible()
    page.keyboard.press(" ")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
