"""How many prepared slots servers have, asked anew at each look; and how many tasks a database takes that has none.

Each server is asked in a thread of its own, and waited for a second at most: one that is gone or hangs holds up its
own customers' batches and nobody else's. Connections are kept while looks go on, and closed after them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from coordination import conf
from coordination.errors import CoordinationError
from coordination.protocol.gid import installation_prefix
from coordination.protocol.states import Kind
from coordination.resources import registry
from coordination.resources.base import ResourceError
from coordination.resources.kept import KeptConnections

from .asker import Asker

ANSWER_SECONDS = 1.0
"""How long a look waits for a server's answer."""

UNLIMITED = 1_000_000_000

Server = tuple[str, str]
"""Host and port: aliases that share them share their prepared slots. Where work is held, the alias or the one file."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """A server's ``max_prepared_transactions``, and how many of them others than this installation use.

    ``one_writer``: it is a database that one transaction at a time writes to, and that is its one slot.
    """

    slots: int
    strangers: int
    one_writer: bool = False


Answer = Capacity | str
"""A string says why there is no answer."""


def server_of(alias: str) -> Server:
    """The server that ``alias`` is on; one of its own for an alias that this node's settings lack."""
    settings = connections.settings.get(alias)
    if settings is None:
        return "", alias
    if _is_held(alias):
        file = registry.sole_writer(alias)
        return ("one writer", file) if file else ("held", alias)
    return str(settings.get("HOST") or "localhost"), str(settings.get("PORT") or "5432")


class Capacities:
    """Asks servers. Its methods belong to one event loop."""

    def __init__(self) -> None:
        self._kept: dict[Server, KeptConnections] = {}
        self._asker = Asker[Server, Answer]("coordination-capacity")

    async def look(self, aliases: Iterable[str]) -> dict[Server, Answer]:
        """What the servers of these aliases answer now. Takes little more than a second, whatever they do."""
        servers = {server_of(alias): alias for alias in aliases}
        for server, alias in servers.items():
            self._kept.setdefault(server, KeptConnections(alias))
        answers = await self._asker.ask(servers, lambda server: _answer(self._kept[server]), ANSWER_SECONDS)
        return {server: answers.get(server, "it does not answer") for server in servers}

    def hang_up(self) -> None:
        """Close the connections that are not in use."""
        for kept in self._kept.values():
            kept.close_idle()


def _is_held(alias: str) -> bool:
    try:
        return registry.kind_of(alias) is Kind.HELD
    except CoordinationError:  # Launches in it are refused; what the server says will do for what is left of them.
        return False


def _answer(kept: KeptConnections) -> Answer:
    """Ask over a kept connection, and over a fresh one if that one had died."""
    if kept.alias not in connections.settings:
        return "this node's settings do not have it"
    if _is_held(kept.alias):
        # Nothing is prepared there, so there is nothing to ask; what a worker process can hold it says in its vote.
        one = bool(registry.sole_writer(kept.alias))
        return Capacity(slots=1 if one else UNLIMITED, strangers=0, one_writer=one)
    answer: Answer = ""
    for fresh in (False, True):
        try:
            wrapper = kept.take(fresh=fresh)
        except ResourceError as error:
            return str(error)
        try:
            answer = _question(wrapper)
        except (DatabaseError, InterfaceError) as error:
            answer = str(error).splitlines()[0]
            kept.drop(wrapper)
            continue
        kept.give_back(wrapper)
        break
    return answer


def _question(wrapper: BaseDatabaseWrapper) -> Capacity:
    with wrapper.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('max_prepared_transactions')::int,"
            " (SELECT count(*) FROM pg_prepared_xact() WHERE NOT starts_with(gid, %s))",
            [installation_prefix(conf.installation())],
        )
        slots, strangers = cursor.fetchone()
        return Capacity(slots=slots, strangers=strangers)
