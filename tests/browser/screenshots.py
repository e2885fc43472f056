"""Pictures of every page, light and dark, wide and narrow, from a history in the journal: ``make screenshots``.

    python -m tests.browser.screenshots [FOLDER] [NAME …]

All of them, or those places of `places.py` that are named, go to FOLDER (``var/screenshots`` unless said). Those that
the README shows are drawn anew in ``docs/screenshots`` if no name is given. Nothing runs behind the pages but the web
process: the batches that look open stay as they are.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.browser.places import Place, admin_pages, open_pages, pages, wrong_pages
from tests.browser.visit import WIDE, People
from tests.services import PostgreSQL, RabbitMQ, Redis, Scratch, Site, history
from tests.services.machine import find_program
from tests.services.site import ROOT

SHOWN = ROOT / "docs" / "screenshots"
PHONE: ViewportSize = {"width": 390, "height": 844}
BEST: dict[str, tuple[str, ViewportSize]] = {
    "customers": ("light", {"width": 1280, "height": 480}),
    "batch-running": ("dark", {"width": 1280, "height": 740}),
    "batch-task": ("light", WIDE),
    "batch-rolled-back": ("light", PHONE),
}
"""What the README shows, and how."""


@contextmanager
def site() -> Iterator[Site]:
    """The site's web process, on a history with open batches."""
    scratch = Scratch()
    postgres = PostgreSQL("pg1", scratch=scratch, databases=["journal", "demo_ledger", "demo_warehouse"])
    postgres2 = PostgreSQL("pg2", scratch=scratch, databases=["demo_crm"])
    redis, rabbitmq = Redis(scratch=scratch), RabbitMQ(scratch=scratch)
    made = Site(scratch=scratch, rabbitmq=rabbitmq, postgres=postgres, postgres2=postgres2, redis=redis)
    try:
        for server in (postgres, postgres2, redis):
            server.start()
        made.migrate()
        yield made
    finally:
        made.stop_processes()
        for server in (postgres, postgres2, redis):
            server.stop()
        scratch.close()


def arrive(page: Page, url: str, place: Place) -> None:
    page.goto(f"{url}{place.path}")
    place.then(page)
    page.wait_for_load_state("networkidle")


def draw(people: People, url: str, place: Place, folder: Path) -> None:
    """One page in its four forms."""
    with people.page(place.who, viewport=WIDE, timezone_id="UTC") as page:
        arrive(page, url, place)
        for width, size in (("wide", WIDE), ("narrow", PHONE)):
            page.set_viewport_size(size)
            for scheme in ("light", "dark"):
                _settle(page, scheme)
                page.screenshot(path=folder / f"{place.name}-{width}-{scheme}.png", full_page=True)


def show(people: People, url: str, place: Place) -> None:
    """The one of a page that the README shows."""
    scheme, size = BEST[place.name]
    with people.page(place.who, viewport=size, timezone_id="UTC") as page:
        arrive(page, url, place)
        _settle(page, scheme)
        page.screenshot(path=SHOWN / f"{place.name}.png")


def _settle(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def main(folder: str = "var/screenshots", *names: str) -> None:
    to = Path(folder)
    to.mkdir(parents=True, exist_ok=True)
    SHOWN.mkdir(exist_ok=True)
    with site() as running, sync_playwright() as playwright:
        sessions = history.people(running)
        ids = history.seed(running) | history.seed_open(running)
        running.web()
        chromium = find_program("chromium", "/usr/bin", package="chromium")
        browser = playwright.chromium.launch(executable_path=chromium)
        people = People(browser, running.public_url, sessions)
        for place in [*pages(ids), *open_pages(ids), *wrong_pages(ids["globex: Contracts"]), *admin_pages(ids)]:
            if not names or place.name in names:
                draw(people, running.public_url, place, to)
            if place.name in BEST and not names:
                show(people, running.public_url, place)
        browser.close()
    print(f"{len([*to.glob('*.png')])} pictures are in {to}; those of the README in {SHOWN.relative_to(ROOT)}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
