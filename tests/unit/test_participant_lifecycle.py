"""Which processes get an agent. What the agent does is tested in real workers (``tests/integration``)."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from celery.concurrency import get_implementation
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from coordination import conf
from coordination.errors import AliasNotTwoPhase, EngineCannotPrepare
from coordination.participant import lifecycle
from coordination.protocol.states import Kind
from coordination.resources import registry
from tests.services import free_port


@pytest.fixture(autouse=True)
def no_agent_left() -> Iterator[None]:
    """The agent of this very process, if a test started one, is stopped."""
    yield
    lifecycle.stop_agent()
    assert lifecycle._agents == {}


def began(pool: str) -> None:
    consumer = SimpleNamespace(pool=object.__new__(get_implementation(pool)))
    lifecycle._worker_began(sender=consumer)


def test_pools_that_run_tasks_in_the_worker_itself_get_one(settings: Settings) -> None:
    """Once, named after the process; it keeps trying to reach the broker by itself."""
    settings.COORDINATION_BROKER_URL = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    for pool in ("threads", "solo", "threads"):
        began(pool)
    (agent,) = lifecycle._agents.values()
    assert agent is lifecycle.current_agent()
    assert f"-{os.getpid()}-" in agent.process
    assert not agent.wait_connected(0.01)


def test_the_parent_of_forked_children_gets_none() -> None:
    began("prefork")
    assert lifecycle._agents == {}


@pytest.mark.parametrize(
    "changed", [{"COORDINATION_AGENT": False}, {"COORDINATION_DATABASES": {}}], ids=["opted out", "nothing to do"]
)
def test_a_worker_can_do_without(settings: Settings, changed: dict[str, object]) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    lifecycle._child_began()
    assert lifecycle._agents == {}


def test_an_agent_that_cannot_start_does_not_stop_the_worker(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Its other tasks go on; the log says what is missing."""
    settings.COORDINATION_INSTALLATION = "not hex"
    lifecycle._child_began()
    assert "COORDINATION_INSTALLATION" in caplog.text
    with pytest.raises(ImproperlyConfigured):
        lifecycle.current_agent()


def test_the_broker_is_celerys_unless_said(settings: Settings) -> None:
    settings.COORDINATION_BROKER_URL = "amqp://elsewhere/"
    assert conf.broker_url() == "amqp://elsewhere/"
    settings.COORDINATION_BROKER_URL = ""
    assert conf.broker_url().startswith("amqp://")


def test_only_databases_that_can_do_as_asked_are_served(settings: Settings) -> None:
    settings.COORDINATION_DATABASES = {
        "demo_ledger": {"two_phase": "require"},
        "demo_crm": {"two_phase": "hold"},
        "x": {},
    }
    assert (registry.served(), registry.aliases()) == (["demo_ledger", "demo_crm"], ["demo_ledger"])
    assert [registry.resource_of(alias).kind for alias in registry.served()] == [Kind.TWO_PHASE, Kind.HELD]
    registry.close_all()
    with pytest.raises(AliasNotTwoPhase, match="COORDINATION_DATABASES"):
        registry.resource_of("x")


def test_a_database_that_cannot_prepare_is_not_asked_to(settings: Settings, sqlite_alias: str) -> None:
    settings.COORDINATION_DATABASES = {sqlite_alias: {}}
    assert registry.served() == []
    with pytest.raises(EngineCannotPrepare, match='"two_phase": "hold"'):
        registry.resource_of(sqlite_alias)
