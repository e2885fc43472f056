"""What no machine can put right is told to people, honestly, and what they do about it is kept."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from coordination.crashpoints import Point
from tests.faults.crashing import Crash, killed
from tests.integration.batches import ended, field, in_state, nothing_left, prepared, rows, start
from tests.services import Site
from tests.unit.test_alerts import Listener

CRM = 3
"""The task of a batch of three that writes to database crm."""


@pytest.fixture(scope="module")
def customers(whole_site: Site) -> Site:
    """The demo's customers; nodes and workers are each test's own."""
    whole_site.demo_data()
    return whole_site


@pytest.fixture
def crash(tmp_path: Path) -> Crash:
    return Crash(tmp_path)


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.stop()


def rolled_back_by_hand(site: Site, batch: str) -> None:
    """What somebody with the rights can do to a prepared transaction: on crm, past all of us."""
    (gid,) = (name for database, name in site.postgres2.prepared() if batch.replace("-", "") in name)
    site.query("demo_crm", f"ROLLBACK PREPARED '{gid}'")


def alerts_of(listener: Listener, batch: str) -> list[str]:
    return [body["kind"] for body in listener.bodies if body["batch"] == batch]


def test_rolled_back_by_hand_while_it_was_to_be_committed(
    customers: Site, orm: Site, crash: Crash, listener: Listener
) -> None:
    """Row 37. The batch ends mixed, by proof of the database, and whoever asks is told which task."""
    site = orm
    site.worker("solo")
    node = site.node(env={**crash.at("decision.stored=wait"), "COORDINATION_ALERT_URL": listener.url})
    batch = start(site, tasks=3, fail_at=0, rows=1)
    crash.struck(site, Point.DECIDED)
    rolled_back_by_hand(site, batch)
    crash.go(Point.DECIDED)
    assert ended(site, batch) == "MIXED"
    assert (in_state(site, batch, "COMMITTED"), in_state(site, batch, "HEURISTIC_ROLLBACK")) == (2, 1)
    assert rows(site, batch) == 2
    nothing_left(site, batch)

    waited = site.manage("wait_batch", batch)
    assert waited.returncode == 5
    named = f"task {CRM} (write_entries): HEURISTIC_ROLLBACK, Found rolled back, by its transaction id"
    assert named in waited.stdout and named in site.manage("show_batch", batch).stdout
    listed = site.manage("unresolved", "--json")
    (one,) = (one for one in json.loads(listed.stdout)["batches"] if one["id"] == batch)
    assert (listed.returncode, one["matter"], one["tasks"]) == (1, "mixed", [CRM])

    client = Client(headers={"host": "localhost"})
    client.force_login(get_user_model().objects.get(username="admin"))
    page = client.get(f"/c/acme/b/{batch}/?tab=table").content.decode()
    assert f"Task {CRM} did not end as decided" in page and "put right by hand what differs" in page
    assert "Rolled back against the decision" in page
    assert f"Task {CRM} (database crm) did not end as decided" in client.get("/attention/").content.decode()
    assert "⚠ Mixed" in client.get(f"/admin/coordination/batch/{batch}/change/").content.decode()

    site.wait_until(lambda: alerts_of(listener, batch) == ["mixed"], 20, what="the alert")
    lines = [line for line in node.log.splitlines() if "coordination.attention" in line and batch in line]
    assert len(lines) == 1 and " ERROR " in lines[0] and f"Task {CRM} (database crm)" in lines[0]


def test_what_nobody_can_know_any_more_waits_for_a_persons_word(
    customers: Site, site: Site, crash: Crash, listener: Listener
) -> None:
    """Row 37. Without proof nothing is guessed: it stays open and visible until an approver declares it."""
    soon = {"COORDINATION_UNRESOLVED_SECONDS": "2", "COORDINATION_ALERT_URL": listener.url}
    worker = site.worker("solo")
    node = site.node(env=crash.at("decision.stored=kill"))
    batch = start(site, tasks=3, fail_at=0, rows=1)
    killed(site, node, crash, Point.DECIDED)
    worker.kill()  # it remembers the proof
    rolled_back_by_hand(site, batch)
    # As when the transaction is too old for its server to know: the proof proves nothing any more.
    sql = "UPDATE coordination_branch SET proof = NULL WHERE batch_id = %s AND number = %s RETURNING 1"
    assert site.query("default", sql, [batch, CRM]) == [(1,)]

    site.worker("solo")
    node = site.node(env=soon)
    site.wait_until(lambda: in_state(site, batch, "COMMITTED") == 2, 60, what="the others committed")
    site.wait_until(lambda: alerts_of(listener, batch) == ["unresolved"], 30, what="the alert")
    asked = site.manage("resolve_batch", batch, "--retry", "--reason", "The server is back", check=True)
    assert asked.stdout == "Asked again what became of 1 task\n"
    listed = site.manage("unresolved", env=soon)
    assert listed.returncode == 1
    assert f"UNRESOLVED  {batch}" in listed.stdout and f"task {CRM} (database crm) is not finished" in listed.stdout
    new = "INSERT INTO coordination_operatorrequest (batch_id, action, by, why, result, asked) VALUES (%s, 'divide', "
    ask = site.value("default", new + "'a newer site', '', '', now()) RETURNING id", [batch])
    answer = f"SELECT result FROM coordination_operatorrequest WHERE id = {ask} AND handled IS NOT NULL"
    site.wait_until(lambda: site.query("default", answer), 20, what="the answer to what this node does not know")
    assert "does not know 'divide'; upgrade it" in site.value("default", answer)
    assert field(site, batch, "state") == "COMMITTING", "nobody has guessed"

    node.stop()  # what is asked while no manager runs is carried out by the next
    words = ("--declare", "rolled-back", "--tasks", "all", "--reason", "Restored from last night", "--no-input")
    assert site.manage("resolve_batch", batch, *words, "--no-wait", check=True).stdout == "Asked\n"
    site.node(env=soon)
    assert ended(site, batch) == "MIXED"
    assert in_state(site, batch, "HEURISTIC_ROLLBACK") == 1 and rows(site, batch) == 2 and not prepared(site, batch)
    assert declaration(site, batch) == {
        "fate": "rolled_back", "tasks": [CRM], "why": "Restored from last night",
        "result": f"Declared rolled back: 1 task ({CRM})",
        "before": {"state": "COMMITTING", "decision": "COMMIT", "tasks": {str(CRM): "PREPARED"}},
        "after": {"state": "MIXED", "decision": "COMMIT", "tasks": {str(CRM): "HEURISTIC_ROLLBACK"}},
    }  # fmt: skip
    shown = json.loads(site.manage("show_batch", batch, "--json").stdout)
    print("recorded:", shown["recorded"])
    assert shown["recorded"]["takeovers"] >= 2 and shown["recorded"]["in_doubt_seconds"] >= 2
    assert "Restored from last night" in shown["errors"][0]["message"]
    site.wait_until(lambda: alerts_of(listener, batch) == ["unresolved", "mixed"], 20, what="the second alert")


def declaration(site: Site, batch: str) -> dict[str, Any]:
    """The audit row of what was declared."""
    sql = (
        "SELECT to_jsonb(r) FROM coordination_operatorrequest r"
        " WHERE batch_id = %s AND action = 'declare' AND handled IS NOT NULL AND by LIKE '%%by command'"
    )
    row = site.value("default", sql, [batch])
    return {name: row[name] for name in ("fate", "tasks", "why", "result", "before", "after")}
