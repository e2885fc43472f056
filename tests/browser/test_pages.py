"""All pages: accessible in both themes, fitting a phone, without anything a browser complains of; and inert."""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.places import Place, admin_pages, open_pages, pages
from tests.browser.visit import NARROW, WIDE, People, Watch
from tests.services import Site, history

AXE = Axe()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# preload: axe would read style sheets by putting them into the page, which the page's CSP rightly refuses.
# resultTypes: of all that is well axe need not tell each place, which takes it longer than to look at them.
HOW = {"preload": False, "resultTypes": ["violations"]}
RULES = {"runOnly": {"type": "tag", "values": TAGS}, **HOW}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}, **HOW}
"""What a theme can change: the rest of a page is the same in both."""
SCHEMES: tuple[tuple[Literal["light", "dark"], dict[str, Any]], ...] = (("light", RULES), ("dark", COLOURS))
FADED = """Promise.allSettled(document.getAnimations()
    .filter((one) => one instanceof CSSTransition).map((one) => one.finished))"""
HOSTILE = "<img src=x onerror=\"document.title='broken into'\"><script>alert('task')</script>"


def visit(page: Page, site: Site, place: Place) -> None:
    answer = page.goto(f"{site.public_url}{place.path}")
    assert answer is not None and answer.status == place.status, place.name
    place.then(page)


def faults(page: Page) -> list[str]:
    """What axe finds on the page as it is, in each theme."""
    page.evaluate(AXE.axe_script)
    wrong = []
    for scheme, rules in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.evaluate(FADED)
        # Only what is wrong comes over here.
        violations = page.evaluate("(options) => axe.run(options).then((found) => found.violations)", rules)
        wrong += [
            f"{scheme}: {one['id']}: {node['html'][:200]} {node['failureSummary']}"
            for one in violations
            for node in one["nodes"]
        ]
    return wrong


def too_wide(page: Page) -> list[int]:
    """How wide the page is if it cannot be narrow; it has a second to lay itself out."""
    for _ in range(10):
        width: int = page.evaluate("document.documentElement.scrollWidth")
        if width <= NARROW["width"]:
            return []
        page.wait_for_timeout(100)
    return [width]


def walk(site: Site, people: People, places: list[Place]) -> list[str]:
    """Look at each page wide and narrow, light and dark; all that is wrong, by page."""
    wrong: list[str] = []
    for who in {place.who: None for place in places}:
        with contextlib.closing(people.context(who, viewport=WIDE)) as context:
            for place in places:
                if place.who == who:
                    wrong += [f"{place.name}: {one}" for one in look(context.new_page(), site, place)]
    return wrong


def look(page: Page, site: Site, place: Place) -> list[str]:
    """What is wrong on a page. It is closed then."""
    watch = Watch(page)
    visit(page, site, place)
    wrong = faults(page)
    page.set_viewport_size(NARROW)
    wrong += [f"{width} pixels wide on a screen of {NARROW['width']}" for width in too_wide(page)]
    answered = [f"{place.status} ", "Failed to load resource"] if place.status != 200 else ["\0"]
    wrong += [one for one in watch.wrong if not one.startswith(tuple(answered))]
    page.close()
    return wrong


def test_every_page_is_accessible_and_fits_a_phone(running: Site, people: People, ids: dict[str, str]) -> None:
    wrong = walk(running, people, pages(ids))
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def open_ids(running: Site, ids: dict[str, str]) -> Iterator[dict[str, str]]:
    """Ids of batches that are open, which nobody takes up, and which hold no slots any more after these tests."""
    yield history.seed_open(running)
    history.end_open(running)


def test_every_page_of_an_open_batch_is_accessible(running: Site, people: People, open_ids: dict[str, str]) -> None:
    wrong = walk(running, people, open_pages(open_ids))
    assert not wrong, "\n".join(wrong)


def test_declaring_what_became_of_tasks(running: Site, people: People, open_ids: dict[str, str]) -> None:
    """Found on the page of what needs attention, declared, seen as asked, and kept with who and why."""
    with people.watched("admin") as page:
        page.goto(f"{running.public_url}/attention/")
        page.get_by_role("article").filter(has_text="Contracts").get_by_role("link", name="Declare what").click()
        page.get_by_label("Only tasks").fill("40-42")
        page.get_by_role("button", name="List these").click()
        page.get_by_label("Rolled back: nothing").check()
        page.get_by_label("Reason").fill("Its disk is gone")
        page.get_by_label("typed").fill("Contracts")
        page.get_by_role("button", name="Declare 3 tasks").click()
        expect(page.get_by_label("How the batch stands")).to_contain_text("Declare asked by admin")
    sql = "SELECT fate, tasks, why, by FROM coordination_operatorrequest WHERE batch_id = %s"
    kept = running.query("default", sql, [open_ids["globex: Contracts"]])
    assert kept == [("rolled_back", [40, 41, 42], "Its disk is gone", "admin")]


def test_a_refusal_is_said_on_the_page_of_the_batch(running: Site, people: People, ids: dict[str, str]) -> None:
    """Whoever loads it again or sends its address to a colleague gets that page."""
    with people.page("admin") as page:
        place = next(place for place in pages(ids) if place.name == "batch-settle")
        visit(page, running, place)
        page.get_by_label("What was put right, and how").fill(" ")
        page.get_by_role("button", name="Mark as put right").click()
        expect(page.get_by_text("Say what was put right, and how.")).to_be_visible()
        page.get_by_label("Tasks by state").get_by_role("link", name="Committed").click()
        expect(page).to_have_url(f"{running.public_url}{place.path}?state=committed")
        page.get_by_role("link", name="Journal", exact=True).click()
        expect(page.get_by_label("Journal")).to_contain_text("Launched by")
        page.reload()
        expect(page).to_have_url(f"{running.public_url}{place.path}?state=committed&tab=journal")
        expect(page.get_by_text("Say what was put right")).to_have_count(0)


def test_every_page_of_the_admin_is_accessible(running: Site, people: People, ids: dict[str, str]) -> None:
    wrong = walk(running, people, admin_pages(ids))
    assert not wrong, "\n".join(wrong)


def test_what_is_wrong_on_a_page_is_seen(running: Site, people: People) -> None:
    """The other tests would hold on any page if what they look with saw nothing."""
    with people.page() as page:
        watch = Watch(page)
        page.goto(f"{running.public_url}/")
        page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "document.title = 'broken into'";
                const dark = document.createElement("p");
                dark.textContent = "Can be read on white only";
                dark.style.color = "#333";
                document.body.append(script, document.createElement("img"), dark);
                return fetch("/nowhere");
            }"""
        )
        assert any("Content Security Policy" in one for one in watch.wrong)
        assert any(one.startswith("404 ") for one in watch.wrong)
        assert page.title() != "broken into"
        assert {tuple(one.split(": ")[:2]) for one in faults(page)} == {
            ("light", "image-alt"),
            ("dark", "color-contrast"),
        }


@pytest.fixture
def hostile(running: Site, ids: dict[str, str]) -> str:
    """Id of a batch whose label and error are markup; its task's name as well, now."""
    batch = ids["globex: <b>Bold</b> & <script>alert(1)</script>"]
    sql = "UPDATE coordination_branch SET name = %s WHERE batch_id = %s AND number = 7 RETURNING number"
    assert running.query("default", sql, [HOSTILE, batch]) == [(7,)]
    return batch


@pytest.mark.parametrize("tab", ["grid", "table", "errors", "timeline", "journal"])
def test_markup_in_label_name_and_error_is_text(running: Site, people: People, hostile: str, tab: str) -> None:
    with people.watched("globex_operator") as page:
        page.goto(f"{running.public_url}/c/globex/b/{hostile}/?tab={tab}&task=7")
        expect(page.get_by_role("heading", level=1)).to_have_text("<b>Bold</b> & <script>alert(1)</script>")
        expect(page.get_by_role("heading", name="Task 7")).to_contain_text(HOSTILE)
        expect(page.get_by_role("complementary")).to_contain_text("<img src=x onerror=alert(1)> is not a number")
        expect(page.get_by_label("How the batch stands")).to_contain_text("<img src=x onerror=alert(1)>")
        nothing_came_alive(page)
        assert page.title() == "✕ 1 failed · <b>Bold</b> & <script>alert(1)</script> · Globex"


def test_markup_is_text_on_lists_and_in_the_admin(running: Site, people: People, hostile: str) -> None:
    with people.watched("admin") as page:
        # Searched for: other tests' batches may fill the admin's first page.
        admin = "/admin/coordination/batch/"
        for path in ("/", "/c/globex/", f"{admin}?q=Bold", f"{admin}{hostile}/change/"):
            page.goto(f"{running.public_url}{path}")
            if path != "/":  # its card shows a batch that needs attention
                expect(page.get_by_text("<b>Bold</b>").first).to_be_visible()
            nothing_came_alive(page)


def nothing_came_alive(page: Page) -> None:
    """No element was made of the markup, and no script of it ran."""
    made = """[...document.querySelectorAll("img, b, script")].filter((element) =>
        element.getAttribute("src") === "x" || /Bold|alert/.test(element.textContent)).length"""
    assert page.evaluate(made) == 0
    assert page.title() != "broken into"
