"""The page never looks live when it is not, and never needs what a browser may lack."""

import re

from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.test_outcomes import END, NOT_LIVE, count_of, expect_banner, launched_elsewhere
from tests.browser.visit import People, not_loaded_again, still_there
from tests.services import Site
from tests.services.history import PASSWORD


def launch(site: Site, *args: str, **params: object) -> str:
    """Launch a batch elsewhere; its page's address."""
    done = launched_elsewhere(site, *args, *(f"--param={name}={value}" for name, value in params.items()))
    found = re.search(r'"url": "([^"]+)"', done.stdout)
    assert found
    return found.group(1)


def stale(page: Page) -> None:
    expect(page.get_by_text(NOT_LIVE)).to_be_visible(timeout=10_000)


def test_a_page_outlives_its_web_process(running: Site, people: People) -> None:
    with people.page() as page:
        page.goto(launch(running, tasks=20, fail_at=17, seconds=0.4))
        expect_banner(page, "Running")
        not_loaded_again(page)
        web = next(p for p in running.processes if p.name.startswith("web") and p.alive)
        web.kill()
        stale(page)
        running.processes.remove(web)
        running.web()
        expect_banner(page, "Rolled back – nothing of it is applied")
        expect_banner(page, "Task 17 of 20 failed: ZeroDivisionError")
        expect(page.get_by_text(NOT_LIVE)).to_be_hidden(timeout=END)
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        assert still_there(page)


def test_a_socket_that_is_open_but_silent_is_found_out(running: Site, people: People, ids: dict[str, str]) -> None:
    first: list[bool] = []  # only the first frame of the first socket comes through, and nothing of any later one

    def swallow(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def pass_the_first(message: str | bytes) -> None:
            if not first:
                first.append(True)
                route.send(message)

        server.on_message(pass_the_first)

    with people.page() as page:
        page.clock.install()
        page.route_web_socket("**/ws/batch/**", swallow)
        page.goto(f"{running.public_url}/c/acme/b/{ids['acme: Price list, spring']}/")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        while not first:
            page.wait_for_timeout(50)
        page.clock.fast_forward(20_000)
        expect(page.get_by_text(NOT_LIVE)).to_be_hidden()
        page.clock.fast_forward(7_000)
        stale(page)


def test_without_websockets_it_asks_and_with_one_it_is_live_again(running: Site, people: People) -> None:
    refusing = True

    def between(route: WebSocketRoute) -> None:
        if refusing:
            route.close()
        else:
            route.connect_to_server()

    with people.page() as page:
        page.clock.install()
        page.route_web_socket("**/ws/batch/**", between)
        page.goto(launch(running, tasks=4, fail_at=0, seconds=0.5))
        not_loaded_again(page)
        stale(page)
        expect_banner(page, "Committed – all of it is applied")
        expect(page.get_by_text(NOT_LIVE)).to_be_visible()
        assert count_of(page, "Committed") == 4
        refusing = False
        page.clock.fast_forward(31_000)  # the longest that it waits before it tries again
        expect(page.get_by_text(NOT_LIVE)).to_be_hidden(timeout=END)
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        assert count_of(page, "Committed") == 4 and still_there(page)


def test_one_whose_session_is_gone_asks_to_sign_in_again(running: Site, people: People, ids: dict[str, str]) -> None:
    with people.page() as page:
        page.goto(f"{running.public_url}/c/acme/b/{ids['acme: Price list, spring']}/")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        page.context.clear_cookies()
        page.evaluate("dispatchEvent(new Event('online'))")  # the page opens its socket anew
        page.get_by_role("link", name="Sign in again").click()
        page.get_by_label("Username").fill("acme_operator")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Price list, spring")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_without_javascript_there_are_counts_and_the_table(running: Site, people: People, ids: dict[str, str]) -> None:
    with people.watched(java_script_enabled=False) as page:
        page.goto(f"{running.public_url}/c/acme/b/{ids['acme: Accounts from the old system']}/")
        expect(page.get_by_label("How the batch stands")).to_contain_text("Rolled back")
        expect(page.get_by_role("row")).to_have_count(101)
        page.get_by_label("Tasks by state").get_by_role("link", name="Failed").click()
        expect(page.get_by_role("row")).to_have_count(18)
        page.get_by_role("row").nth(1).get_by_role("link").click()
        expect(page.get_by_role("complementary")).to_contain_text("IntegrityError")
        page.goto(f"{running.public_url}/c/acme/?q=Price+list")
        expect(page.get_by_role("table")).to_contain_text("Price list, spring")
