"""Which resource belongs to which alias, in this process."""

import os
import threading
from collections.abc import Sequence

from django.db import connections

from coordination import conf
from coordination.errors import AliasNotTwoPhase, CoordinationError

from .base import Resource
from .postgresql import PostgreSQLResource

_lock = threading.Lock()
_resources: dict[tuple[int, str], Resource] = {}
"""By process id as well: a child must not use its parent's connections, nor close them."""


class EngineCannotPrepare(CoordinationError):
    """Database {alias!r} ({engine}) cannot prepare a transaction; give the task a PostgreSQL database."""


def aliases() -> Sequence[str]:
    """The aliases branches may write to in two phases: those of COORDINATION_DATABASES that Django has."""
    wanted = [alias for alias, options in conf.databases().items() if options.get("two_phase", "require") == "require"]
    return [alias for alias in wanted if alias in connections.settings and connections[alias].vendor == "postgresql"]


def resource_of(alias: str) -> Resource:
    """The resource of ``alias``. Raises AliasNotTwoPhase, EngineCannotPrepare."""
    key = os.getpid(), alias
    resource = _resources.get(key)
    if resource is None:
        with _lock:
            resource = _resources.get(key)
            if resource is None:
                resource = _resources[key] = _make(alias)
    return resource


def close_all() -> None:
    """Close what this process has open, and forget it."""
    with _lock:
        mine = [key for key in _resources if key[0] == os.getpid()]
        closing = [_resources.pop(key) for key in mine]
    for resource in closing:
        resource.close()


def _make(alias: str) -> Resource:
    if alias not in conf.databases() or alias not in connections.settings:
        raise AliasNotTwoPhase(alias=alias)
    if alias not in aliases():
        raise EngineCannotPrepare(alias=alias, engine=connections.settings[alias]["ENGINE"])
    return PostgreSQLResource(alias, installation=conf.installation())
