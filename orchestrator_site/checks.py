"""System checks: half a configuration is refused, in words, with the remedy.

`manage.py` runs them before each command. A web process and a worker do not go through `manage.py`, so `asgi.py` and
`celery.py` call `refuse_to_start()`.
"""

import re
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from orchestrator_site.environment import Environment

EXAMPLES = {
    "AMQP_URL": "amqp://user:password@host:5672/",
    "DATABASE_URL": "postgresql://user:password@host:5432/journal",
    "REDIS_URL": "redis://host:6379/0",
}


def _examples(names: Sequence[str]) -> str:
    return ", ".join(f"{name}={EXAMPLES[name]}" for name in names)


def problems(environment: Environment) -> list[CheckMessage]:
    """All that is wrong with `environment`, most basic first; empty if the site can run."""
    found: list[CheckMessage] = [
        Error(f"{name} cannot be used: {why}.", hint=f"Correct {name}.", id="orchestrator_site.E002")
        for name, why in environment.unreadable.items()
    ]
    if environment.embedded:
        return found  # the home has all that is asked for below
    missing = environment.missing_services
    if missing:
        text = f"Half a configuration: {' and '.join(missing)} missing, while the others are set."
        return [*found, Error(text, hint=f"Set {_examples(missing)}.", id="orchestrator_site.E001")]
    if not environment.secret_key:
        found.append(
            Error(
                "SECRET_KEY is not set.",
                hint="Set it to a long random text that all processes share, for example the output of "
                "python -c 'import secrets; print(secrets.token_urlsafe(50))'.",
                id="orchestrator_site.E003",
            )
        )
    if not re.fullmatch(r"[0-9a-f]{8}", environment.installation):
        found.append(
            Error(
                "COORDINATION_INSTALLATION must be 8 hexadecimal digits (0-9, a-f)."
                if environment.installation
                else "COORDINATION_INSTALLATION is not set.",
                hint="It names this installation in the databases it prepares transactions on. Choose it once, for "
                "example by python -c 'import secrets; print(secrets.token_hex(4))', and give all processes the same.",
                id="orchestrator_site.E004",
            )
        )
    if not environment.targets and "TARGET_DATABASES" not in environment.unreadable:
        found.append(
            Error(
                "TARGET_DATABASES names no database, so no task could write anywhere.",
                hint="Set TARGET_DATABASES=alias=postgresql://user:password@host:5432/name, separated by commas.",
                id="orchestrator_site.E005",
            )
        )
    return found


@register()
def check_environment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report what is wrong with the process's environment."""
    return problems(settings.ENVIRONMENT)


def refuse_to_start() -> None:
    """Raise `ImproperlyConfigured`, saying all that is wrong, unless this process can run the site."""
    found = problems(settings.ENVIRONMENT)
    if settings.HOME is not None and not settings.HOME.is_open:
        found.append(
            Error(
                "No services are configured, and without them one process does everything.",
                hint=f"Start it by `make demo` (manage.py demo), or set {_examples(list(EXAMPLES))}.",
                id="orchestrator_site.E006",
            )
        )
    if found:
        raise ImproperlyConfigured(" ".join(f"{problem.msg} {problem.hint}" for problem in found))
