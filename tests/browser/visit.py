"""A person in front of a browser, with pages that are watched for everything a browser finds wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, ViewportSize

WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 320, "height": 640}
SESSION_COOKIE = "sessionid"
OFTEN_ABORTED = "net::ERR_ABORTED"  # the page itself gave up a question whose answer it no longer wanted, or was left


class Watch:
    """What went wrong on a page: messages on its console, exceptions, violations of the CSP, requests that failed."""

    def __init__(self, page: Page) -> None:
        self.wrong: list[str] = []
        page.on("console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("requestfailed", lambda asked: self._failed(asked.url, asked.failure))
        page.on("response", lambda got: self.wrong.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        page.on("dialog", self._asked)

    def _asked(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _failed(self, url: str, failure: str | None) -> None:
        if failure != OFTEN_ABORTED:
            self.wrong.append(f"{url}: {failure}")


class People:
    """Opens pages for the people of the demo, who are signed in: ``sessions`` has each one's session cookie."""

    def __init__(self, browser: Browser, url: str, sessions: dict[str, str]) -> None:
        self._browser, self._url, self._sessions = browser, url, sessions

    def context(self, who: str | None, **options: Any) -> BrowserContext:
        """A browser of its own for ``who``; for nobody in particular if that is None."""
        context = self._browser.new_context(**options)
        context.set_default_timeout(20_000)
        if who is not None:
            context.add_cookies([{"name": SESSION_COOKIE, "value": self._sessions[who], "url": self._url}])
        return context

    @contextmanager
    def page(self, who: str | None = "acme_operator", **options: Any) -> Iterator[Page]:
        """A page in such a browser."""
        context = self.context(who, **options)
        yield context.new_page()
        context.close()

    @contextmanager
    def watched(self, who: str | None = "acme_operator", **options: Any) -> Iterator[Page]:
        """A page on which nothing may go wrong."""
        with self.page(who, **options) as page:
            watch = Watch(page)
            yield page
            assert watch.wrong == []


class Frames:
    """The frames of a page's sockets, in order: of what kind each was, and how many bytes long."""

    def __init__(self, page: Page) -> None:
        self.sizes: list[tuple[str, int]] = []
        page.on("websocket", lambda socket: socket.on("framereceived", self._take))

    def _take(self, payload: str | bytes) -> None:
        text = payload if isinstance(payload, str) else payload.decode()
        self.sizes.append((json.loads(text)["t"], len(text.encode())))


def not_loaded_again(page: Page) -> None:
    """Leave a mark on the page that a reload would take away: `still_there` looks for it."""
    page.evaluate("window.notLoadedAgain = true")


def still_there(page: Page) -> bool:
    return bool(page.evaluate("window.notLoadedAgain === true"))
