"""For supervisors and load balancers: is this web process alive, and can it serve.

    /livez     200 while the process answers at all; looks at nothing else, so that a broken journal restarts no process
    /readyz    200 if what it needs is there; 503 with what is missing, by name, within three seconds

Both are for everybody, so neither says anything that an address, an account or a password could be read from.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import amqp
from channels.layers import get_channel_layer
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from coordination import conf
from coordination.bus import address
from coordination.bus.port import ALARM
from coordination.journal import generation
from coordination.live.reading import Readers

LIMIT = 2.5
"""Seconds that each part may take to answer; all are asked together."""
NAMED = 3
"""Migrations that are named at most."""

_readers = Readers(threads=3)
"""Threads of their own: a part that hangs holds up no page, and no more of them than these."""


class Missing(Exception):
    """Something is not there; the words are for everybody to read."""


@require_safe
@never_cache
async def livez(request: HttpRequest) -> HttpResponse:
    """Say that the process is alive."""
    return HttpResponse("alive\n", content_type="text/plain")


@require_safe
@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """Say whether all is there that pages need, and if not, what is missing."""
    answers = await asyncio.gather(*(_ask(part) for part in PARTS.values()))
    missing = {name: words for name, words in zip(PARTS, answers, strict=True) if words}
    if "journal" in missing:
        missing.pop("migrations", None)  # nobody can tell
    return JsonResponse({"ready": not missing, "missing": missing}, status=503 if missing else 200)


async def _ask(part: Callable[[], Awaitable[None]]) -> str:
    """What is the matter with a part, in words; empty if nothing is."""
    try:
        async with asyncio.timeout(LIMIT):
            await part()
    except Missing as missing:
        return str(missing)
    except TimeoutError:
        return f"no answer within {LIMIT:g} s"
    except Exception:  # whatever it says may name hosts and accounts
        return "it cannot be reached"
    return ""


async def _journal() -> None:
    await _readers.run(_look_into_the_journal)


async def _generation() -> None:
    await _readers.run(_compare_generations)


async def _migrations() -> None:
    await _readers.run(_look_for_migrations)


async def _broker() -> None:
    await _readers.run(_greet_the_broker)


async def _layer() -> None:
    """Send something over the channel layer and receive it."""
    layer = get_channel_layer()
    if layer is None:
        raise Missing("none is configured, so no page learns of changes at once")
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "health"})
    await layer.receive(channel)


def _look_into_the_journal() -> None:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")


def _compare_generations() -> None:
    try:
        behind = generation.standing().behind
    except DatabaseError:
        return  # nobody can tell: there is no journal, or not all of its tables
    if behind:
        raise Missing("the journal is older than its databases; look at it with manage.py release_journal")


def _look_for_migrations() -> None:
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise Missing(f"not applied: {', '.join(names[:NAMED])}{more}; run manage.py migrate")


def _greet_the_broker() -> None:
    url = conf.broker_url()
    if address.is_local(url):
        return  # it is in this process
    options = address.read(url).blocking_options()
    times = {"connect_timeout": LIMIT, "read_timeout": LIMIT, "write_timeout": LIMIT}
    connection = amqp.Connection(**options, **times, on_blocked=_alarmed, confirm_publish=True)
    try:
        connection.connect()
        # To nobody. A broker with an alarm takes everything else, and tells so only those who publish.
        connection.channel().basic_publish(amqp.Message(""), routing_key=secrets.token_hex(8))
        connection.close()
    finally:
        connection.collect()


def _alarmed(reason: str) -> None:
    raise Missing(ALARM)


PARTS: dict[str, Callable[[], Awaitable[None]]] = {
    "journal": _journal,
    "generation": _generation,
    "migrations": _migrations,
    "broker": _broker,
    "layer": _layer,
}
