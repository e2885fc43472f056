"""The ``COORDINATION_*`` settings with their defaults, read from Django's settings each time they are asked for."""

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

IDLE_SECONDS = 10.0
"""A database connection of ours that was not used for so long is closed, when its database is next looked at for
orphans."""


def installation() -> str:
    """``COORDINATION_INSTALLATION``: whose prepared transactions are ours, 8 hex digits.

    Raises ImproperlyConfigured without it: under a guessed one, work could be prepared that nobody would finish.
    """
    value = str(_setting("COORDINATION_INSTALLATION", ""))
    if not re.fullmatch(r"[0-9a-f]{8}", value):
        raise ImproperlyConfigured(
            "COORDINATION_INSTALLATION must be this installation's id, 8 hex digits, the same in every process: "
            "it is the id of the journal's one row in coordination_installation."
        )
    return value


def broker_url() -> str:
    """``COORDINATION_BROKER_URL``: where votes and decisions travel. Default: Celery's own broker."""
    url = _setting("COORDINATION_BROKER_URL", "")
    if not url:
        from celery import current_app

        url = current_app.conf.broker_write_url or current_app.conf.broker_url
    return str(url or "")


def databases() -> Mapping[str, Mapping[str, Any]]:
    """``COORDINATION_DATABASES``: Django's aliases that branches may write to, each with its options.

    ``{"two_phase": "require"}`` (the default) wants a database that can prepare, ``"hold"`` takes one that cannot.
    """
    value = _setting("COORDINATION_DATABASES", {})
    return {str(alias): dict(options) for alias, options in value.items()}


def agent_enabled() -> bool:
    """``COORDINATION_AGENT``: whether a worker process starts its agent when it starts. Default True.

    A worker without one that is given a branch all the same starts it then.
    """
    return bool(_setting("COORDINATION_AGENT", True))


def hold_limit() -> float:
    """``COORDINATION_HOLD_LIMIT``: seconds a holder that cannot reach the broker keeps what it holds. Default 60."""
    return float(_setting("COORDINATION_HOLD_LIMIT", 60))


def max_held() -> int:
    """``COORDINATION_MAX_HELD``: connections a worker process keeps open, a database, for tasks that it holds until
    their decision. Default 20; a task for which there is none left votes to roll back, and says so.
    """
    return max(1, int(_setting("COORDINATION_MAX_HELD", 20)))


def lock_timeout() -> float:
    """``COORDINATION_LOCK_TIMEOUT``: seconds a branch's statement waits for a lock. Default 30.

    No deadlock detector sees two branches that wait for each other across databases, or for a decision: this does.
    """
    return float(_setting("COORDINATION_LOCK_TIMEOUT", 30))


def finishers() -> int:
    """``COORDINATION_FINISHERS``: connections a worker process finishes one database's gids over. Default 4."""
    return max(1, int(_setting("COORDINATION_FINISHERS", 4)))


def sweep_seconds() -> float:
    """``COORDINATION_SWEEP_SECONDS``: seconds between two looks for orphans. Default 5."""
    return float(_setting("COORDINATION_SWEEP_SECONDS", 5))


def unresolved_seconds() -> float:
    """``COORDINATION_UNRESOLVED_SECONDS``: how long a decided batch may take to finish before people are told.

    Default 60.
    """
    return float(_setting("COORDINATION_UNRESOLVED_SECONDS", 60))


def alert_url() -> str:
    """``COORDINATION_ALERT_URL``: where alerts are posted as JSON, http or https. Default: nowhere."""
    return str(_setting("COORDINATION_ALERT_URL", "")).strip()


def host() -> str:
    """``COORDINATION_HOST``: dotted path of what lets a command that waits for a batch run it in its own process.

    Default: none. It is for installations where no managers and workers run by themselves; see
    :class:`coordination.management.hosting.Host` for what it must be.
    """
    return str(_setting("COORDINATION_HOST", ""))


def public_url() -> str:
    """``COORDINATION_PUBLIC_URL``: the address people use, without a slash at the end, for links. Default: none."""
    return str(_setting("COORDINATION_PUBLIC_URL", "")).rstrip("/")


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, name, default)
