"""The journal is restored from a backup that is older than its databases."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordination.crashpoints import Point
from tests.faults.crashing import Crash, killed
from tests.faults.voting import vote_again
from tests.integration.batches import ALIASES, ended, field, in_state, nothing_left, prepared, rows, start
from tests.services import Process, Site

BACKUP = "journal_backup"
SETUP = "import django; django.setup(); from coordination.models import Batch"


@pytest.fixture(scope="module")
def worker(whole_site: Site) -> Iterator[Process]:
    """Customers and a worker; the nodes are the tests' own. In the end the journal is one that nodes work with."""
    whole_site.demo_data()
    with whole_site.worker("prefork", 2) as worker:
        yield worker
    highest = max(mark(whole_site, alias) for alias in ALIASES)
    whole_site.query(
        "default", "UPDATE coordination_installation SET generation = generation + %s, needed = 0", [highest]
    )


def mark(site: Site, alias: str) -> int:
    """The generation that a database knows."""
    sql = "SELECT generation FROM coordination_mark WHERE installation = %s"
    return int(site.value(alias, sql, [site.installation]))


def back_up(site: Site) -> None:
    """As it is now; no node may run."""
    site.postgres.dropdb(BACKUP)
    site.postgres.query("postgres", f"CREATE DATABASE {BACKUP} TEMPLATE journal")


def restore(site: Site) -> None:
    """Whoever is connected."""
    site.postgres.dropdb("journal")
    site.postgres.query("postgres", f"CREATE DATABASE journal TEMPLATE {BACKUP}")


def forget(site: Site, batch: str) -> None:
    """Have a batch that ended badly look bad to no other test."""
    site.run([sys.executable, "-c", f"{SETUP}; Batch.objects.filter(pk={batch!r}).delete()"], check=True)


def test_a_journal_older_than_its_databases_is_worked_with_by_nobody_until_it_is_released(
    worker: Process, site: Site, tmp_path: Path
) -> None:
    """Row 49. It takes a committed batch for open and does not know another one, whose promises wait for its answer."""
    node = site.node()
    old = start(site, tasks=6, fail_at=0, seconds=1)
    site.wait_until(lambda: in_state(site, old, "PREPARED") >= 2, 20, what="two tasks prepared")
    node.stop()
    back_up(site)
    crash = Crash(tmp_path)
    node = site.node(env=crash.at("decision.stored#2=kill"))
    assert ended(site, old) == "COMMITTED"
    young = start(site, tasks=3, fail_at=0)
    killed(site, node, crash, Point.DECIDED)
    promised = prepared(site, young)
    assert len(promised) == 3
    process = str(site.value("default", "SELECT min(process) FROM coordination_branch WHERE batch_id = %s", [young]))
    restore(site)
    assert (field(site, old, "decision"), field(site, young, "state")) == (None, None)

    node = site.node()
    node.wait_for("ERROR coordination.attention: The journal is older than its databases", 10)
    claimed = site.query("default", "SELECT epoch, node FROM coordination_batch WHERE id = %s", [old])
    later = start(site, tasks=3, fail_at=0)
    vote_again(site, promised, process)
    report = site.manage("release_journal", check=True).stdout
    assert re.search(rf"run again: 1\n  {old} acme .*: 6 tasks, 0 of them prepared\n", report), report
    assert f"not know; to be rolled back: 1\n  {young}: 3 prepared\n" in report
    # All this time it was told to look, several times.
    assert site.query("default", "SELECT epoch, node FROM coordination_batch WHERE id = %s", [old]) == claimed
    assert (field(site, later, "epoch"), prepared(site, young), rows(site, old)) == (0, promised, 60)

    done = site.manage("release_journal", "--reason", "looked at by hand")
    assert done.returncode == 0 and "1 undecided batches are rolled back" in done.stdout, done.stderr
    # Of two tasks of the old one it knows what proves that they were committed.
    assert (ended(site, later), ended(site, old)) == ("COMMITTED", "MIXED")
    assert "does not know what became of this batch. looked at by hand" in field(site, old, "reason")
    assert rows(site, old) == 60  # None of its tasks has been run again.
    vote_again(site, promised, process)
    site.wait_until(lambda: not prepared(site, young), 20, what="the answer for the batch it does not know")
    assert rows(site, young) == 0
    nothing_left(site, later, old)
    recorded = "SELECT by <> '', why, after > before, rolled_back FROM coordination_journalrelease"
    assert site.query("default", recorded) == [(True, "looked at by hand", True, 1)]
    assert site.manage("release_journal", "--reason", "again").returncode == 2

    # Once more, under a node that runs: it remembers what it has seen.
    restore(site)
    site.wait_until(lambda: node.log.count("The journal is older than its databases") == 2, 10, what="it to notice")
    assert site.query("default", "SELECT epoch, node FROM coordination_batch WHERE id = %s", [old]) == claimed
    site.manage("release_journal", "--reason", "looked at by hand", check=True)
    assert ended(site, old) == "MIXED"
    nothing_left(site, old)
    forget(site, old)
