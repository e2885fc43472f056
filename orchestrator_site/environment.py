"""What the environment says, read in one place and without judgement.

`settings.py` must be importable with any environment, so nothing here raises: what is missing is empty, what cannot be
read is kept in `Environment.unreadable`, and `checks.py` says what to do about it.
"""

import contextlib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ

from orchestrator_site.home import DATABASES, database

SERVICES = ("AMQP_URL", "DATABASE_URL", "REDIS_URL")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
TRUE = {"1", "true", "yes", "on"}
PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 8000

DatabaseConfig = dict[str, Any]


@dataclass(frozen=True)
class Environment:
    """The environment's variables, parsed.

    `unreadable` maps a variable's name to what is wrong with it. It never repeats a value: values hold passwords.
    """

    amqp_url: str = ""
    database_url: str = ""
    redis_url: str = ""
    secret_key: str = ""
    installation: str = ""
    debug: bool = False
    public_url: str = "http://localhost:8000"
    allowed_hosts: tuple[str, ...] = ()
    csrf_trusted_origins: tuple[str, ...] = ()
    apps: tuple[str, ...] = ("demo",)
    alert_url: str = ""
    unresolved_seconds: float = 60.0
    home: Path = PROJECT / "var"
    port: int = DEFAULT_PORT
    result_backend: str = "django-db"
    log_level: str = "INFO"
    journal: DatabaseConfig = field(default_factory=dict)
    targets: dict[str, DatabaseConfig] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    """The targets that are not asked to prepare."""
    hold_limit: int = 60
    max_held: int = 20
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def missing_services(self) -> list[str]:
        """Those of the three services that are not named."""
        return [name for name in SERVICES if not getattr(self, name.lower())]

    @property
    def has_services(self) -> bool:
        """Whether any of the three services is named."""
        return len(self.missing_services) < len(SERVICES)

    @property
    def embedded(self) -> bool:
        """Whether everything runs in one process with databases in the home: no service is named."""
        return not self.has_services

    @property
    def websocket_origin(self) -> str:
        """`public_url` as a websocket's origin."""
        parts = urlsplit(self.public_url)
        return f"{'wss' if self.secure else 'ws'}://{parts.netloc}"

    @property
    def secure(self) -> bool:
        """Whether people reach the site by https."""
        return urlsplit(self.public_url).scheme == "https"


class _Variables:
    """The variables, and what is wrong with those that cannot be read."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.unreadable: dict[str, str] = {}

    def text(self, name: str, default: str = "") -> str:
        """`default` if it is empty as well."""
        return self._variables.get(name, "").strip() or default

    def several(self, name: str, default: str = "") -> tuple[str, ...]:
        """What is between its commas; `default` only if it is not there."""
        return tuple(part.strip() for part in self._variables.get(name, default).split(",") if part.strip())

    def port(self) -> int:
        text = self.text("PORT", str(DEFAULT_PORT))
        if re.fullmatch(r"\d{1,5}", text) and 0 < int(text) < 65536:
            return int(text)
        self.unreadable["PORT"] = "it must be a number from 1 to 65535"
        return DEFAULT_PORT

    def seconds(self, name: str, default: float) -> float:
        text = self.text(name, str(default))
        if re.fullmatch(r"\d{1,6}(\.\d+)?", text):
            return float(text)
        self.unreadable[name] = "it must be a number of seconds"
        return default

    def count(self, name: str, default: int) -> int:
        text = self.text(name, str(default))
        if re.fullmatch(r"\d{1,6}", text) and int(text):
            return int(text)
        self.unreadable[name] = "it must be a whole number from 1 to 999999"
        return default

    def log_level(self) -> str:
        level = self.text("LOG_LEVEL", "INFO").upper()
        if level in LOG_LEVELS:
            return level
        self.unreadable["LOG_LEVEL"] = f"it must be one of {', '.join(LOG_LEVELS)}"
        return "INFO"

    def public_url(self, default: str) -> str:
        url = self.text("PUBLIC_URL", default).rstrip("/")
        with contextlib.suppress(ValueError):  # such as of half an address of IPv6
            if urlsplit(url).scheme in {"http", "https"} and urlsplit(url).hostname:
                return url
        self.unreadable["PUBLIC_URL"] = "it must be the address people use, such as https://batches.example.com"
        return default


def read(variables: Mapping[str, str] = os.environ) -> Environment:
    """Parse `variables`; never raises."""
    said = _Variables(variables)
    embedded = not any(said.text(name) for name in SERVICES)
    port = said.port() if embedded else DEFAULT_PORT
    public_url = said.public_url(f"http://127.0.0.1:{port}" if embedded else "http://localhost:8000")
    local = ("localhost", "127.0.0.1", "[::1]")
    everywhere = tuple(dict.fromkeys((urlsplit(public_url).hostname or "localhost", *local)))
    home = Path(os.path.abspath(os.path.expanduser(said.text("ORCHESTRATOR_HOME", str(PROJECT / "var")))))
    targets, held = _targets(said.text("TARGET_DATABASES"), said.unreadable)
    if embedded:
        journal, targets = _databases_of(home, targets, said.unreadable)
    else:
        journal = _journal(said.text("DATABASE_URL"), said.unreadable)
    return Environment(
        amqp_url=said.text("AMQP_URL"),
        database_url=said.text("DATABASE_URL"),
        redis_url=said.text("REDIS_URL"),
        secret_key=said.text("SECRET_KEY"),
        installation=said.text("COORDINATION_INSTALLATION"),
        debug=said.text("DEBUG", "0").lower() in TRUE,
        public_url=public_url,
        allowed_hosts=said.several("ALLOWED_HOSTS") or everywhere,
        csrf_trusted_origins=said.several("CSRF_TRUSTED_ORIGINS"),
        apps=said.several("COORDINATION_APPS", "demo"),
        alert_url=said.text("COORDINATION_ALERT_URL"),
        unresolved_seconds=said.seconds("COORDINATION_UNRESOLVED_SECONDS", 60.0),
        home=home,
        port=port,
        result_backend=said.text("CELERY_RESULT_BACKEND", "django-db"),
        log_level=said.log_level(),
        journal=journal,
        targets=targets,
        held=held,
        hold_limit=said.count("COORDINATION_HOLD_LIMIT", 60),
        max_held=said.count("COORDINATION_MAX_HELD", 20),
        unreadable=said.unreadable,
    )


def _journal(url: str, unreadable: dict[str, str]) -> DatabaseConfig:
    """The database of the journal; empty, and noted, if it cannot be read."""
    journal = _database("DATABASE_URL", url, unreadable) if url else {}
    if journal and journal["ENGINE"] != "django.db.backends.postgresql":
        unreadable["DATABASE_URL"] = "the journal needs PostgreSQL, as postgresql://user:password@host:5432/name"
    return journal


def _databases_of(
    home: Path, targets: dict[str, DatabaseConfig], unreadable: dict[str, str]
) -> tuple[DatabaseConfig, dict[str, DatabaseConfig]]:
    """The home's journal and targets."""
    if targets:
        unreadable["TARGET_DATABASES"] = "without the services only the home's own databases are used; take it out"
    ours = {alias: database(home, alias) for alias in DATABASES}
    return ours.pop("default"), ours


def _targets(text: str, unreadable: dict[str, str]) -> tuple[dict[str, DatabaseConfig], frozenset[str]]:
    """Parse `alias=url,alias=url`. A comma inside a URL is kept unless what follows looks like the next alias.

    The second are the aliases that are not asked to prepare: those that say `two_phase=hold`, and SQLite's.
    """
    targets: dict[str, DatabaseConfig] = {}
    held: set[str] = set()
    for part in re.split(r",\s*(?=[A-Za-z_]\w*=)", text.strip().strip(",")):
        if not part:
            continue
        alias, separator, url = part.strip().partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_]\w*", alias):
            unreadable["TARGET_DATABASES"] = "it must be a list alias=url,alias=url"
        elif alias == "default":
            unreadable["TARGET_DATABASES"] = "the alias default is the journal's, call the target something else"
        elif alias in targets:
            unreadable["TARGET_DATABASES"] = f"the alias {alias} is named twice"
        else:
            config = _database("TARGET_DATABASES", url, unreadable)
            if config and _is_held(alias, config, unreadable):
                held.add(alias)
            if config:
                targets[alias] = config
    return targets, frozenset(held)


def _is_held(alias: str, config: DatabaseConfig, unreadable: dict[str, str]) -> bool:
    """Whether the target is one that is not asked to prepare; takes what says so out of `config`."""
    sqlite = config["ENGINE"] == "django.db.backends.sqlite3"
    wanted = config.get("OPTIONS", {}).pop("two_phase", "hold" if sqlite else "require")
    if wanted not in ("hold", "require"):
        unreadable["TARGET_DATABASES"] = f"two_phase of {alias} is either require or hold"
    elif sqlite and wanted == "require":
        unreadable["TARGET_DATABASES"] = f"{alias} is SQLite, which cannot prepare: leave two_phase out, or say hold"
    elif sqlite and not os.path.isabs(config["NAME"]):
        unreadable["TARGET_DATABASES"] = f"the file of {alias} is written in full, with four slashes: sqlite:////srv/x.db"
    return wanted == "hold"


def _database(name: str, url: str, unreadable: dict[str, str]) -> DatabaseConfig:
    """Django's settings of the database at `url`; empty, and noted, if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser's would repeat the URL, password and all
            config: DatabaseConfig = environ.Env.db_url_config(url)
    except Exception:  # whatever the parser trips over, the remedy is the same
        config = {}
    if not config.get("NAME") or not str(config.get("ENGINE", "")).startswith("django.db.backends."):
        unreadable[name] = "a database is written as postgresql://user:password@host:5432/name"
        return {}
    return config
