"""System checks: what would go wrong later is said at the start, with the remedy."""

import os
import re
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from coordination import conf
from coordination.errors import EngineCannotPrepare
from coordination.protocol.states import Kind
from coordination.resources import registry

TWO_PHASE = ("require", "hold")


@register()
def check_journal(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The journal is in ``default``, and that is PostgreSQL."""
    engine = settings.DATABASES.get(DEFAULT_DB_ALIAS, {}).get("ENGINE", "")
    if not engine or engine.endswith(".dummy"):
        return []  # Django says by itself that there is no database
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        return []
    return [
        Error(
            f"The journal must be kept in PostgreSQL, but DATABASES['default'] is {engine}.",
            hint="Make a PostgreSQL database the default one; tasks may write to others.",
            id="coordination.E001",
        )
    ]


@register()
def check_databases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """COORDINATION_DATABASES names databases that exist, and says of each how it commits."""
    value = getattr(settings, "COORDINATION_DATABASES", {})
    if not isinstance(value, dict) or not all(isinstance(options, dict) for options in value.values()):
        return [
            Error(
                "COORDINATION_DATABASES is not a dict of dicts.",
                hint='Write it as {"alias": {"two_phase": "require"}}.',
                id="coordination.E002",
            )
        ]
    found: list[CheckMessage] = []
    for alias, options in value.items():
        if alias not in settings.DATABASES:
            found.append(
                Error(
                    f"COORDINATION_DATABASES names {alias!r}, which DATABASES does not have.",
                    hint=f"Add the database to DATABASES, or take it out; there are: {', '.join(settings.DATABASES)}.",
                    id="coordination.E003",
                )
            )
        if options.get("two_phase", "require") not in TWO_PHASE:
            found.append(
                Error(
                    f"COORDINATION_DATABASES[{alias!r}]: two_phase cannot be {options['two_phase']!r}.",
                    hint='It is "require" (the database can prepare) or "hold" (it cannot).',
                    id="coordination.E004",
                )
            )
        elif alias in settings.DATABASES:
            found.extend(_promise(alias))
    return found


def _promise(alias: str) -> list[CheckMessage]:
    """Whether the database can keep the promise that the settings make of it."""
    options = connections.settings[alias]
    try:
        if registry.kind_of(alias) is not Kind.HELD:
            return []
        file = registry.sole_writer(alias)
    except EngineCannotPrepare as error:
        return [Error(str(error), id="coordination.E008")]
    except ImproperlyConfigured:
        return []  # Django says by itself that the engine's driver is missing
    if file and (":memory:" in str(options["NAME"]) or not os.path.isabs(options["NAME"])):
        return [
            Error(
                f"Database {alias!r} is a file that no two processes would see alike: {options['NAME']}.",
                hint="Write its path in full; databases in memory cannot take part.",
                id="coordination.E009",
            )
        ]
    level = str(getattr(options["OPTIONS"].get("isolation_level"), "name", ""))
    if level == "SERIALIZABLE":
        return [
            Error(
                f"Database {alias!r} is serializable, so where it does not prepare it may refuse a decided COMMIT.",
                hint='Let it prepare (two_phase "require"), or take isolation_level out of its OPTIONS.',
                id="coordination.E010",
            )
        ]
    return []


@register()
def check_recycling(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Worker processes that hold work open are not ended after so many tasks."""
    from celery import current_app

    wanted = [n for n in ("worker_max_tasks_per_child", "worker_max_memory_per_child") if current_app.conf.get(n)]
    databases = getattr(settings, "COORDINATION_DATABASES", {})
    if not isinstance(databases, dict):
        return []  # said by another check
    held = [a for a, options in databases.items() if isinstance(options, dict) and options.get("two_phase") == "hold"]
    if not wanted or not held:
        return []
    return [
        Warning(
            f"Celery's {wanted[0]} ends worker processes, and with each what it holds open in {', '.join(held)}: "
            "batches are rolled back for it.",
            hint=f"Take {wanted[0]} out for workers that run such tasks.",
            id="coordination.W011",
        )
    ]


@register()
def check_installation(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """COORDINATION_INSTALLATION has the form of an id."""
    value = getattr(settings, "COORDINATION_INSTALLATION", "")
    if re.fullmatch(r"[0-9a-f]{8}", str(value)):
        return []
    problem = f"is {value!r}, which is not 8 hex digits" if value else "is not set"
    return [
        Warning(
            f"COORDINATION_INSTALLATION {problem}; managers and workers will not start.",
            hint="Set it, the same in every process. An installed journal has it as the one id in "
            "coordination_installation; for a new one take 8 random hex digits.",
            id="coordination.W005",
        )
    ]


@register(Tags.database)
def check_installation_row(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """COORDINATION_INSTALLATION is the id that the journal has."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    from coordination.models import Installation

    try:
        ours = conf.installation()
        stored = list(Installation.objects.using(DEFAULT_DB_ALIAS).values_list("id", flat=True)[:2])
    except (ImproperlyConfigured, DatabaseError):
        return []  # said by another check, or not migrated yet
    if stored == [ours]:
        return []
    there = f"the journal's is {stored[0]}" if len(stored) == 1 else f"the journal has {len(stored)} instead of one"
    return [
        Error(
            f"COORDINATION_INSTALLATION is {ours}, but {there}: prepared transactions under another id "
            "would never be finished.",
            hint="Set it to the id in the journal's table coordination_installation.",
            id="coordination.E006",
        )
    ]


@register()
def check_plans(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Every plan has a name of its own."""
    from coordination.errors import BadPlanName, PlanClash
    from coordination.plans import known_plans

    try:
        known_plans()
    except (PlanClash, BadPlanName) as error:
        return [Error(str(error), id="coordination.E007")]
    return []


@register()
def check_alert_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """COORDINATION_ALERT_URL is an address that can be posted to."""
    if not conf.alert_url() or re.match(r"https?://[^/\s]", conf.alert_url()):
        return []
    return [
        Error(
            "COORDINATION_ALERT_URL is not an address that begins with http:// or https://.",
            hint="Set it to the address that takes alerts as JSON, or leave it out.",
            id="coordination.E008",
        )
    ]
