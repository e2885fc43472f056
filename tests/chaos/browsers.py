"""Many browsers at once, as far as a server can tell: websockets of a batch's page, and one that never reads."""

import asyncio
import base64
import http.cookiejar
import json
import os
import random
import re
import struct
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass

from tests.services import Site

PASSWORD = "for the soak"
WITHIN_SECONDS = 60.0
"""How long a browser is given for its first snapshot, with all the others beside it."""
IGNORED_SECONDS = 120.0
"""How long the server may keep a socket whose browser neither reads nor answers."""


@dataclass(frozen=True)
class Wave:
    """How many browsers came at once, how many had a snapshot, after how many seconds the last one; and what became
    of the one that never read: the seconds until the server let it go, None if it did not."""

    browsers: int
    served: int
    last: float
    dropped: float | None


def session(site: Site, username: str, password: str = PASSWORD) -> str:
    """Sign in, and return the session's cookie. The web server runs."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    address = f"{site.public_url}/accounts/login/"
    page = opener.open(address, timeout=20).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None
    form = {"username": username, "password": password, "csrfmiddlewaretoken": token.group(1), "next": "/"}
    request = urllib.request.Request(address, urllib.parse.urlencode(form).encode(), {"Referer": address})
    opener.open(request, timeout=20).close()
    return next(f"{cookie.name}={cookie.value}" for cookie in jar if cookie.name == "sessionid")


def wave(site: Site, cookie: str, batch: str, browsers: int) -> Wave:
    """So many sockets of that batch's page at once, each to its first snapshot; all but a silent one then leave."""
    return asyncio.run(_wave(site, cookie, batch, browsers))


def crowd(site: Site, cookie: str, batch: str, browsers: int) -> list[float | None]:
    """As many at once and no silent one: each one's seconds to its first snapshot, None if it had none in time."""
    return asyncio.run(_crowd(site, cookie, batch, browsers))


async def _crowd(site: Site, cookie: str, batch: str, browsers: int) -> list[float | None]:
    return await asyncio.gather(*(_see(site, cookie, batch) for _ in range(browsers)))


async def _wave(site: Site, cookie: str, batch: str, browsers: int) -> Wave:
    began = time.monotonic()
    silent_reader, silent_writer = await _connect(site, cookie, batch)
    ignoring = asyncio.create_task(_until_closed(silent_reader))
    results = await _crowd(site, cookie, batch, browsers)
    served = [seconds for seconds in results if seconds is not None]
    try:
        dropped = await asyncio.wait_for(ignoring, max(began + IGNORED_SECONDS - time.monotonic(), 0.1)) - began
    except TimeoutError:
        dropped = None
    silent_writer.transport.abort()
    return Wave(browsers, len(served), max(served, default=0.0), dropped)


async def _see(site: Site, cookie: str, batch: str) -> float | None:
    """Seconds to the first snapshot, connecting again as the page does; None if there was none in time."""
    began = time.monotonic()
    while (left := began + WITHIN_SECONDS - time.monotonic()) > 0:
        writer = None
        try:
            async with asyncio.timeout(left):
                reader, writer = await _connect(site, cookie, batch)
                while json.loads(await _frame(reader) or "{}").get("t") != "snap":
                    pass
            return time.monotonic() - began
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            # Refused, or let go to come again later: the journal may be away at this moment.
            await asyncio.sleep(random.uniform(0.5, 2.0))
        finally:
            if writer is not None:
                writer.transport.abort()
    return None


async def _connect(site: Site, cookie: str, batch: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A websocket of the batch's page, with ``hello`` said. Raises OSError if the server refuses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.web_port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws/batch/{batch}/ HTTP/1.1\r\nHost: localhost:{site.web_port}\r\nOrigin: {site.public_url}\r\n"
        f"Cookie: {cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise ConnectionRefusedError(head[:80])
    text = json.dumps({"t": "hello", "have": -1}).encode()
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(text))
    writer.write(bytes([0x81, 0x80 | len(text)]) + mask + masked)
    return reader, writer


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """The next text frame's payload. Raises IncompleteReadError at the end."""
    while True:
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length > 125:
            form = ">H" if length == 126 else ">Q"
            length = struct.unpack(form, await reader.readexactly(struct.calcsize(form)))[0]
        payload = await reader.readexactly(length)
        if first & 0x0F == 1:
            return payload


async def _until_closed(reader: asyncio.StreamReader) -> float:
    """Read nothing, so that the way fills up, but see when the server closes. Returns the moment (monotonic)."""
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.2)
    return time.monotonic()
