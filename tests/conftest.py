"""The services behind the tests, and the site on them.

**When things start.** Where every server will listen is settled when this file is imported, and written into the
environment before Django reads its settings. The servers themselves start when a test first asks for them: the
simulation and most unit tests run without any. Each pytest process has servers of its own; alone its order is: unit,
simulation, contract, integration, faults, and whole stacks last; beside others `PARALLEL_ORDER`.

**Which database a test sees.**

- Unit tests marked `django_db` get pytest-django's own empty `test_…` databases, on the private PostgreSQL servers.
- Integration tests use the site's real databases, through `site.manage(…)`, `site.query(alias, sql)`, the processes
  they start, and with the fixture `orm` through Django's ORM in the test's own process. Do not mark these `django_db`.

**Fixtures**: `rabbitmq`, `postgres`, `postgres2`, `redis` (a running server each), `site` (all four, migrated), `orm`,
`own` (makes further servers of a test's own). What a test starts on `site` is stopped at its end; a module's own
fixture that starts a node for all its tests asks for `whole_site` and does `with whole_site.node(): yield`.

When a test fails, its report shows the tail of the log of each process of the site.
"""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.services import PostgreSQL, RabbitMQ, Redis, Scratch, Site

Server = TypeVar("Server", PostgreSQL, RabbitMQ, Redis)

SCRATCH = Scratch()
RABBITMQ = RabbitMQ(scratch=SCRATCH)
POSTGRES = PostgreSQL("postgres1", scratch=SCRATCH, databases=["journal", "demo_ledger", "demo_warehouse"])
POSTGRES2 = PostgreSQL("postgres2", scratch=SCRATCH, databases=["demo_crm"])
REDIS = Redis(scratch=SCRATCH)
SITE = Site(scratch=SCRATCH, rabbitmq=RABBITMQ, postgres=POSTGRES, postgres2=POSTGRES2, redis=REDIS)

for variable in [name for name in os.environ if name.startswith(("COORDINATION_", "CELERY_", "DJANGO_"))]:
    del os.environ[variable]
for variable in ("DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "LOG_LEVEL"):
    os.environ.pop(variable, None)
os.environ.update(SITE.settings)
os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator_site.settings"

import django  # noqa: E402

django.setup()

from django.db import connections  # noqa: E402
from django.db.backends.base.base import BaseDatabaseWrapper  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from pytest_django import DjangoDbBlocker  # noqa: E402

ORDER = ("unit", "simulation", "contract", "integration", "faults")
BROWSER = "tests/browser"
PARALLEL_ORDER = ("integration", "browser", "faults", "embedded", "contract", "simulation", "unit")


def pytest_configure(config: pytest.Config) -> None:
    """A polite end (SIGTERM) clears up as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The processes of a parallel run (pytest -n) inherit this environment. pytest-django would read the settings before
    # this file has told a process which servers are its own.
    if getattr(config.option, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        del os.environ["DJANGO_SETTINGS_MODULE"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first, whatever the order on the command line; beside other processes last, so that all end together.

    Then long files that mostly wait also run beside those that mostly compute. Faults leave dead nodes in the journal,
    which later ones speak of: so integration comes before them in any case.
    """
    order = PARALLEL_ORDER if "PYTEST_XDIST_WORKER" in os.environ else ORDER

    def place(item: pytest.Item) -> int:
        folder = next((part for part in reversed(item.path.parts) if part in order), "")
        return order.index(folder) if folder else len(order)

    items.sort(key=place)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile` tests/browser goes to one process as if it were a file: it shares a site and a browser."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return BROWSER if file.startswith(f"{BROWSER}/") else file

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what is left, however the run ended."""
    SITE.stop_processes()
    for server in (RABBITMQ, POSTGRES, POSTGRES2, REDIS):
        server.stop()
    SCRATCH.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the site's logs with a failure."""
    report: Any = yield
    if report.failed and report.when != "teardown":
        for process in SITE.processes:
            report.sections.append((f"log of {process!r}", process.tail(60)))
    return report


# Servers.


@pytest.fixture(scope="session")
def rabbitmq() -> RabbitMQ:
    """RabbitMQ, running."""
    RABBITMQ.start()
    return RABBITMQ


@pytest.fixture(scope="session")
def postgres() -> PostgreSQL:
    """The PostgreSQL server of the journal and of the targets demo_ledger and demo_warehouse, running."""
    POSTGRES.start()
    return POSTGRES


@pytest.fixture(scope="session")
def postgres2() -> PostgreSQL:
    """The PostgreSQL server of the target demo_crm, running."""
    POSTGRES2.start()
    return POSTGRES2


@pytest.fixture(scope="session")
def redis() -> Redis:
    """Redis, running."""
    REDIS.start()
    return REDIS


@pytest.fixture
def own() -> Iterator[Callable[..., Any]]:
    """Makes a running server for this test alone: `own(PostgreSQL, "small", max_prepared_transactions=5)`."""
    made: list[Any] = []

    def make(kind: type[Any], name: str, **options: Any) -> Any:
        server = kind(name, scratch=SCRATCH, **options)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.stop()


# The site.


@pytest.fixture(scope="session")
def whole_site() -> Site:
    """The site, all services up and all tables made; for fixtures that outlive a test."""
    SITE.start()
    return SITE


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The site. Services that a test stopped are started again before the next; its processes are stopped after it."""
    whole_site.start()
    before = list(whole_site.processes)
    yield whole_site
    whole_site.stop_processes(keep=before)


# Django in the test's own process.

_wrappers: list[BaseDatabaseWrapper] = []


def _remember(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if not any(known is connection for known in _wrappers):
        _wrappers.append(connection)


connection_created.connect(_remember)


def _close_all_connections() -> None:
    """Close the connections of every thread, so that the next statement connects by the settings of then."""
    for wrapper in _wrappers:
        wrapper.inc_thread_sharing()
        try:
            wrapper.close()
        finally:
            wrapper.dec_thread_sharing()
    _wrappers.clear()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres: PostgreSQL, postgres2: PostgreSQL) -> None:
    """pytest-django makes its test databases on our servers: have them running before it does."""


@pytest.fixture
def orm(site: Site, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    """Django's ORM, in this process, on the site's real databases, without a transaction around the test."""
    before = {alias: connections.settings[alias]["NAME"] for alias in connections}
    _close_all_connections()
    for alias, (_, name) in site.databases.items():
        connections.settings[alias]["NAME"] = name
    with django_db_blocker.unblock():
        yield site
        _close_all_connections()
    for alias, name in before.items():
        connections.settings[alias]["NAME"] = name
