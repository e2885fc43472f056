"""Which resource belongs to which alias: told by the settings, without asking any database; made once a process."""

import contextlib
import os
import threading
from collections.abc import Sequence

from django.db import connections

from coordination import conf
from coordination.errors import AliasNotTwoPhase, EngineCannotPrepare
from coordination.protocol.states import Guarantee, Kind

from .base import Resource
from .held import HeldResource
from .postgresql import PostgreSQLResource

CAN_PREPARE = ("postgresql",)
"""Vendors, in Django's words, whose transactions can be prepared."""

_lock = threading.Lock()
_resources: dict[tuple[int, str], Resource] = {}
"""By process id as well: a child must not use its parent's connections, nor close them."""


def kind_of(alias: str) -> Kind:
    """How a branch in ``alias`` keeps its promise. Raises AliasNotTwoPhase, EngineCannotPrepare."""
    options = conf.databases().get(alias)
    if options is None or alias not in connections.settings:
        raise AliasNotTwoPhase(alias=alias)
    if options.get("two_phase", "require") == "hold":
        return Kind.HELD
    if connections[alias].vendor not in CAN_PREPARE:
        raise EngineCannotPrepare(alias=alias, engine=connections.settings[alias]["ENGINE"])
    return Kind.TWO_PHASE


def guarantee_of(alias: str) -> Guarantee:
    """What a batch with a branch in ``alias`` can promise at most. Raises as :func:`kind_of`."""
    held = kind_of(alias) is Kind.HELD
    return HeldResource.guarantee if held else PostgreSQLResource.guarantee


def sole_writer(alias: str) -> str:
    """The file that ``alias`` is, if one transaction at a time writes to it (SQLite's); else empty.

    Two aliases of one file are one database.
    """
    if alias not in connections.settings or connections[alias].vendor != "sqlite":
        return ""
    return os.path.realpath(str(connections.settings[alias]["NAME"]))


def served() -> Sequence[str]:
    """The aliases branches may write to: those of COORDINATION_DATABASES that Django has and that can do as asked."""
    return list(_kinds())


def aliases() -> Sequence[str]:
    """Those of them that prepare: what is left there outlives its process, and can be found by anybody."""
    return [alias for alias, kind in _kinds().items() if kind is Kind.TWO_PHASE]


def _kinds() -> dict[str, Kind]:
    found = {}
    for alias in conf.databases():
        with contextlib.suppress(AliasNotTwoPhase, EngineCannotPrepare):
            found[alias] = kind_of(alias)
    return found


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
    kind = kind_of(alias)
    return (HeldResource if kind is Kind.HELD else PostgreSQLResource)(alias, installation=conf.installation())
