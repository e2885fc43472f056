"""Batches under test with real nodes and workers: launching them, and what the journal and the databases say."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.services import Site, launcher

APPS = {"COORDINATION_APPS": "demo,tests.integration.participant.odd,tests.integration.oddities"}
ALIASES = ("demo_ledger", "demo_warehouse", "demo_crm")


def start(site: Site, plan: str = "demo", customer: str = "acme", **params: object) -> str:
    """Launch a batch and return its id at once."""
    return launcher.of(site, APPS).launch(customer, plan, **params)


def launch_together(wanted: Sequence[tuple[str, str, dict[str, Any]]], at_once: int) -> list[str]:
    """Launch batches from Python, ``at_once`` at the same time: customer, plan and parameters of each. Their ids."""
    from django.db import connections

    from coordination.api import launch

    def one(batch: tuple[str, str, dict[str, Any]]) -> str:
        try:
            return str(launch(*batch).id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(at_once) as together:
        return list(together.map(one, wanted))


def field(site: Site, batch: str, name: str) -> Any:
    """A column of the batch."""
    return site.value("default", f"SELECT {name} FROM coordination_batch WHERE id = %s", [batch])


def ended(site: Site, batch: str, timeout: float = 60) -> str:
    """Wait for its end; its state."""
    sql = "SELECT state FROM coordination_batch WHERE id = %s AND ended IS NOT NULL"
    return str(site.wait_until(lambda: site.value("default", sql, [batch]), timeout, what=f"the end of batch {batch}"))


def rows(site: Site, batch: str) -> int:
    """The batch's rows that can be seen, in all databases."""
    return sum(site.value(alias, "SELECT count(*) FROM demo_entry WHERE batch_id = %s", [batch]) for alias in ALIASES)


def doubled(site: Site, batch: str) -> list[Any]:
    """Rows that are there more than once."""
    sql = "SELECT branch, n, count(*) FROM demo_entry WHERE batch_id = %s GROUP BY 1, 2 HAVING count(*) > 1"
    return [row for alias in ALIASES for row in site.query(alias, sql, [batch])]


def prepared(site: Site, batch: str) -> set[str]:
    """Gids of its prepared transactions, on both servers."""
    return {gid for _, gid in site.prepared() if batch.replace("-", "") in gid}


def in_state(site: Site, batch: str, state: str) -> int:
    """How many of its tasks are in that state."""
    sql = "SELECT count(*) FROM coordination_branch WHERE batch_id = %s AND state = %s"
    return int(site.value("default", sql, [batch, state]))


def attempts(site: Site, batch: str) -> dict[int, int]:
    """How often each of its tasks was run, by number."""
    sql = (
        "SELECT b.number, count(*) FROM coordination_attempt a JOIN coordination_branch b ON b.id = a.branch_id"
        " WHERE b.batch_id = %s GROUP BY 1"
    )
    return dict(site.query("default", sql, [batch]))


def adopted(site: Site, batch: str) -> set[str]:
    """The gids that count for its tasks."""
    sql = "SELECT gid FROM coordination_branch WHERE batch_id = %s AND gid IS NOT NULL"
    return {row[0] for row in site.query("default", sql, [batch])}


def nothing_left(site: Site, *batches: str) -> None:
    """Wait until nothing of these batches is prepared or on the broker."""
    site.wait_until(lambda: not any(prepared(site, b) for b in batches), 20, what="nothing prepared")
    sql = "SELECT count(*) FROM coordination_batch WHERE id = ANY(%s) AND NOT queue_deleted"
    site.wait_until(lambda: site.value("default", sql, [list(batches)]) == 0, 20, what="queues deleted")
