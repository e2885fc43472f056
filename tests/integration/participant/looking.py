"""What became of a batch, as anybody can see it."""

from coordination.protocol.states import Decision
from tests.integration.participant.standin import Manager
from tests.services import Site, wait_until

ODD = "tests.integration.participant.odd.tasks."
ENV = {"COORDINATION_APPS": "demo,tests.integration.participant.odd"}
LEDGER = "demo_ledger"


def rows(site: Site, manager: Manager) -> int:
    return int(site.value(LEDGER, "SELECT count(*) FROM demo_entry WHERE batch_id = %s", [manager.batch]))


def prepared(site: Site, manager: Manager) -> list[str]:
    return [gid for _, gid in site.postgres.prepared() if manager.batch.hex in gid]


def result(site: Site, task: str) -> tuple[str, str]:
    """How Celery says the task run ended: state, and traceback or value."""
    sql = "SELECT status, coalesce(traceback, result) FROM django_celery_results_taskresult WHERE task_id = %s"
    return wait_until(lambda: site.query("default", sql, [task]), 10, what="the task's result")[0]


def everything_acknowledged(site: Site, manager: Manager) -> None:
    """Of Celery's messages and of the mailboxes'."""
    names = [manager.tasks_queue, *(manager.names.mailbox(process) for process in manager.processes.values())]
    wait_until(lambda: not any(site.rabbitmq.queues()[name].messages for name in names), 5, what="acknowledgements")


def one_vote(manager: Manager, vote: Decision, timeout: float = 20) -> str:
    """Wait for the one vote; returns its failure's words."""
    manager.wait(lambda: manager.votes, timeout)
    (item,) = manager.votes
    assert item.vote is vote, item
    return item.error.message if item.error else ""
