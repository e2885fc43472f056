"""The product's system checks, and the first migrations."""

import subprocess
import sys
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.postgresql.psycopg_any import IsolationLevel

from coordination import checks, plans
from coordination.models import Installation
from orchestrator_site.celery import app


def ids(found: list[Any]) -> list[str]:
    return [message.id for message in found]


def test_a_complete_configuration_is_silent() -> None:
    for check in (checks.check_journal, checks.check_databases, checks.check_installation):
        assert check(None) == []


def test_the_journal_must_be_postgresql() -> None:
    """In a project of its own: the settings of this one cannot be exchanged."""
    program = (
        "import django; from django.conf import settings\n"
        "settings.configure(DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}},\n"
        "    INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes', 'coordination'])\n"
        "django.setup(); from coordination import checks\n"
        "print(checks.check_journal(None))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "coordination.E001" in done.stdout and "django.db.backends.sqlite3" in done.stdout


@pytest.mark.parametrize(
    "value, expected, words",
    [
        ({"nowhere": {}}, ["coordination.E003"], "names 'nowhere', which DATABASES does not have"),
        ({"demo_crm": {"two_phase": "maybe"}}, ["coordination.E004"], "two_phase cannot be 'maybe'"),
        (["demo_crm"], ["coordination.E002"], "is not a dict of dicts"),
        ({"demo_crm": "require"}, ["coordination.E002"], "is not a dict of dicts"),
        ({"demo_crm": {}, "demo_ledger": {"two_phase": "hold"}}, [], ""),
    ],
)
def test_databases(settings: Any, value: Any, expected: list[str], words: str) -> None:
    settings.COORDINATION_DATABASES = value
    found = checks.check_databases(None)
    assert ids(found) == expected
    assert all(words in message.msg for message in found)


@pytest.mark.parametrize(
    "options, changes, expected",
    [
        ({}, {}, "coordination.E008"),
        ({"two_phase": "hold"}, {}, ""),
        ({"two_phase": "hold"}, {"NAME": ":memory:"}, "coordination.E009"),
        ({"two_phase": "hold"}, {"NAME": "here.sqlite3"}, "coordination.E009"),
    ],
)
def test_what_a_file_can_promise(
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    sqlite_alias: str,
    options: dict[str, str],
    changes: dict[str, str],
    expected: str,
) -> None:
    connections.settings[sqlite_alias].update(changes)
    monkeypatch.setitem(settings.DATABASES, sqlite_alias, connections.settings[sqlite_alias])
    settings.COORDINATION_DATABASES = {sqlite_alias: options}
    found = checks.check_databases(None)
    assert ids(found) == ([expected] if expected else [])
    assert all(sqlite_alias in message.msg for message in found)


def test_a_serializable_database_is_not_held(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["demo_crm"]["OPTIONS"], "isolation_level", IsolationLevel.SERIALIZABLE)
    settings.COORDINATION_DATABASES = {"demo_crm": {"two_phase": "hold"}}
    assert ids(checks.check_databases(None)) == ["coordination.E010"]
    settings.COORDINATION_DATABASES = {"demo_crm": {"two_phase": "require"}}
    assert checks.check_databases(None) == []


def test_workers_that_hold_work_are_not_recycled(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.conf, "worker_max_tasks_per_child", 100)
    settings.COORDINATION_DATABASES = {"demo_crm": {}}
    assert checks.check_recycling(None) == []
    settings.COORDINATION_DATABASES = {"demo_crm": {"two_phase": "hold"}}
    found = checks.check_recycling(None)
    assert ids(found) == ["coordination.W011"] and "demo_crm" in found[0].msg


@pytest.mark.parametrize("value, words", [("", "is not set"), ("XYZ", "is 'XYZ', which is not 8 hex digits")])
def test_the_installations_id(settings: Any, value: str, words: str) -> None:
    settings.COORDINATION_INSTALLATION = value
    found = checks.check_installation(None)
    assert ids(found) == ["coordination.W005"] and words in found[0].msg


@pytest.mark.django_db
def test_the_installations_row(settings: Any) -> None:
    """The first migration has made it from the setting; the check compares the two when it is given the database."""
    Installation.objects.all().delete()
    Installation.objects.create(id=settings.COORDINATION_INSTALLATION)
    assert "coordination.E006" not in ids(run_checks(tags=["database"], databases=["default"]))
    settings.COORDINATION_INSTALLATION = "00000000"
    found = checks.check_installation_row(None, databases=["default"])
    assert ids(found) == ["coordination.E006"] and "COORDINATION_INSTALLATION is 00000000" in found[0].msg
    assert checks.check_installation_row(None) == []
    Installation.objects.all().delete()
    assert "has 0 instead of one" in checks.check_installation_row(None, databases=["default"])[0].msg


@pytest.mark.django_db(databases="__all__")
def test_migrations_are_in_step_with_the_models() -> None:
    call_command("makemigrations", "coordination", "demo", check=True, dry_run=True)


@pytest.mark.django_db
def test_room_for_updates_is_left() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = 'coordination_branch'")
        assert cursor.fetchone() == (["fillfactor=50"],)


def test_every_plan_has_a_name_of_its_own(settings: Any) -> None:
    plans._find_plans.cache_clear()
    assert checks.check_plans(None) == []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.unit.shop.again"]
    plans._find_plans.cache_clear()
    try:
        found = checks.check_plans(None)
    finally:
        plans._find_plans.cache_clear()
    assert ids(found) == ["coordination.E007"]
    assert "Two plans are called 'demo': demo.plans.Demo and tests.unit.shop.again.plans.Other." in found[0].msg
