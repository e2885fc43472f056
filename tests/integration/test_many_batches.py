"""Many batches at once: three customers, two nodes, a prefork and a threads worker, two PostgreSQL servers."""

import time
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.integration.batches import ALIASES, ended, field, launch_together
from tests.services import Process, Site

CUSTOMERS = ("acme", "globex", "initech")
ROWS = 10
KEPT_BY_A_NODE = 6
"""Sessions on the journal: one for each of the threads that work on it, one to say that the node lives, and one for the
thread that dispatches."""
LEFT_SECONDS = 20.0
"""How long after the last outcome something may still be left of the batches."""


@dataclass(frozen=True)
class Wanted:
    """A batch to launch. Its task ``fail_at`` fails; 0: none does."""

    customer: str
    tasks: int
    fail_at: int

    @property
    def outcome(self) -> str:
        return "ROLLED_BACK" if self.fail_at else "COMMITTED"

    @property
    def rows(self) -> list[int]:
        """How many rows each database must have of it in the end."""
        return [0 if self.fail_at else ROWS * len(range(first, self.tasks + 1, 3)) for first in (1, 2, 3)]


# Half of them fail: at the first task, in the middle, at the last, and in the databases of both servers.
BATCHES = [
    Wanted(
        customer=CUSTOMERS[number % 3],
        tasks=(tasks := 12 + number % 9),
        fail_at=(1, tasks // 2, tasks)[number // 2 % 3] if number % 2 else 0,
    )
    for number in range(20)
]


def launch_all(wanted: list[Wanted], seconds: float) -> list[str]:
    """Launch them all at the same time; their ids."""
    params = [{"tasks": one.tasks, "fail_at": one.fail_at, "rows": ROWS, "seconds": seconds} for one in wanted]
    asked = [(one.customer, "demo", given) for one, given in zip(wanted, params, strict=True)]
    return launch_together(asked, at_once=len(asked))


def sessions(site: Site) -> Counter[str]:
    """Clients connected to each database of both servers, less the question's own."""
    sql = "SELECT datname, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    sql += " AND pid <> pg_backend_pid() GROUP BY 1"
    return Counter(dict([*site.postgres.query("postgres", sql), *site.postgres2.query("postgres", sql)]))


def left(site: Site, ids: list[str], failed: list[str], baseline: Counter[str], links: int) -> list[str]:
    """What is left of batches ``ids`` that must not be, in words; ``failed`` are those that may have no row."""
    found = []
    for alias in ALIASES:
        if rows := site.value(alias, "SELECT count(*) FROM demo_entry WHERE batch_id = ANY(%s)", [failed]):
            found.append(f"{rows} rows of failed batches in {alias}")
    if prepared := [gid for _, gid in site.prepared()]:
        found.append(f"prepared: {prepared}")
    for queue in site.rabbitmq.queues().values():
        if ".batch." in queue.name or queue.messages:
            found.append(f"{queue}")
    for server, names in (("first", ("journal", "demo_ledger", "demo_warehouse")), ("second", ("demo_crm",))):
        now, before = ({name: of[name] for name in names} for of in (sessions(site), baseline))
        if sum(now.values()) > sum(before.values()):
            found.append(f"sessions on the {server} server: {now}, before {before}")
    if (now_linked := len(site.rabbitmq.connections())) > links:
        found.append(f"{now_linked} connections to RabbitMQ, before {links}")
    return found


@pytest.fixture
def nodes(orm: Site) -> list[Process]:
    """Two nodes; the site has the demo's customers."""
    orm.demo_data()
    return [orm.node(), orm.node()]


def test_twenty_batches_of_three_customers(orm: Site, nodes: list[Process]) -> None:
    site = orm
    prefork, threads = site.worker("prefork", 2), site.worker("threads", 2)
    # Before: for every database one agent holds the connection it sweeps over, and nothing else is connected to it.
    targets = site.wait_until(lambda: swept(site), 20, what="every database swept")
    warm = launch_all([Wanted(customer=customer, tasks=9, fail_at=0) for customer in CUSTOMERS * 2], 0.05)
    assert {ended(site, batch) for batch in warm} == {"COMMITTED"}
    assert {field(site, batch, "node") for batch in warm} == named(site, nodes)
    site.wait_until(lambda: not any(q.messages for q in site.rabbitmq.queues().values()), 10, what="quiet queues")
    # A node opens its own to the journal when it first needs them, and keeps them.
    assert sessions(site)["journal"] <= KEPT_BY_A_NODE * len(nodes)
    baseline = Counter({**targets, "journal": KEPT_BY_A_NODE * len(nodes)})
    links = len(site.rabbitmq.connections())

    begun = time.monotonic()
    ids = launch_all(BATCHES, 0.1)
    launched = time.monotonic() - begun
    outcomes = [ended(site, batch) for batch in ids]
    took, over = time.monotonic() - begun, time.monotonic()
    assert outcomes == [batch.outcome for batch in BATCHES]

    for batch, wanted in zip(ids, BATCHES, strict=True):
        sql = "SELECT count(*) FROM demo_entry WHERE batch_id = %s"
        assert [site.value(alias, sql, [batch]) for alias in ALIASES] == wanted.rows, (batch, wanted)
    managed = Counter(field(site, batch, "node") for batch in ids)
    assert set(managed) == named(site, nodes), f"batches by node: {managed}"
    sql = (
        "SELECT a.process, count(*) FROM coordination_attempt a JOIN coordination_branch b ON b.id = a.branch_id"
        " WHERE b.batch_id = ANY(%s) GROUP BY 1"
    )
    ran = Counter(dict(site.query("default", sql, [ids])))
    assert {pid_of(process) for process in ran} == {*prefork.children(), threads.pid}, f"tasks by process: {ran}"

    failed = [batch for batch, wanted in zip(ids, BATCHES, strict=True) if wanted.fail_at]
    while remains := left(site, ids, failed, baseline, links):
        assert time.monotonic() - over < LEFT_SECONDS, remains
        time.sleep(0.5)
    print(
        f"\n{len(ids)} batches, {sum(b.tasks for b in BATCHES)} tasks: launched in {launched:.1f} s, ended in"
        f" {took:.1f} s, nothing left {time.monotonic() - over:.1f} s later"
        f"\nbatches by node: {dict(managed)}\ntasks run by process: {dict(ran)}"
        f"\nsessions before {dict(baseline)}, after {dict(sessions(site))}; RabbitMQ connections before {links}"
    )


def swept(site: Site) -> dict[str, int] | None:
    """Sessions of the target databases, once each has one; None before."""
    now = sessions(site)
    return {alias: now[alias] for alias in ALIASES} if all(now[alias] == 1 for alias in ALIASES) else None


def pid_of(name: str) -> int:
    """The process id in a node's or a worker process's name."""
    return int(name.split("-")[-2])


def named(site: Site, nodes: list[Process]) -> set[str]:
    """The names under which these nodes manage."""
    names = {row[0] for row in site.query("default", "SELECT name FROM coordination_node")}
    return {name for name in names if pid_of(name) in {node.pid for node in nodes}}
