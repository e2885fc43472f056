"""A worker whose tasks misbehave, and the stand-in for its manager."""

from collections.abc import Iterator

import pytest

from tests.integration.participant.looking import ENV
from tests.integration.participant.standin import Manager
from tests.services import Process, Site


@pytest.fixture(scope="module")
def worker(whole_site: Site) -> Iterator[Process]:
    """A prefork worker with two slots."""
    with whole_site.worker("prefork", 2, env=ENV) as process:
        yield process


@pytest.fixture
def manager(site: Site) -> Iterator[Manager]:
    """The stand-in, for a batch of one."""
    manager = Manager(site.rabbitmq)
    yield manager
    manager.close()


@pytest.fixture
def apart(manager: Manager) -> str:
    """A Celery queue that only this test's own worker reads."""
    manager.tasks_queue = f"apart-{manager.batch.hex[:8]}"
    return f"--queues={manager.tasks_queue}"
