"""The crash drill, as a user runs it: a few of its points on the test's own services, and when it refuses to begin."""

import json
import subprocess

import pytest

from tests.services import Site

POINTS = ("decision.stored", "prepare.done")


def _drill(site: Site, *args: str, timeout: float = 150) -> "subprocess.CompletedProcess[str]":
    done = site.manage("crash_drill", *args, timeout=timeout)
    print(done.stdout, done.stderr)
    return done


@pytest.mark.timeout(170)
def test_a_few_points_pass_and_leave_nothing(site: Site) -> None:
    """Rows 2, 14, 15. A node and a worker are killed, and robbed of their sessions, at one point each."""
    options = ("--no-input", "--json", "--databases=demo_ledger,demo_crm", f"--points={','.join(POINTS)}")
    done = _drill(site, *options, "--faults=kill,session")
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert said["passed"]
    faults = ("kill", "session")
    assert [(t["point"], t["fault"]) for t in said["trials"]] == [(p, f) for p in POINTS for f in faults]
    # A process that is killed there takes no work along: what is to commit does. One that is robbed of its sessions may
    # lose that of another task, which is just at work.
    assert {t["outcome"] for t in said["trials"] if t["fault"] == "kill"} == {"committed"}
    assert site.value("default", "SELECT count(*) FROM coordination_customer WHERE slug = 'crash-drill'") == 0
    assert site.value("demo_crm", "SELECT to_regclass('coordination_crash_drill')::text") is None
    assert site.prepared() == []
    assert not [name for name in site.rabbitmq.queues() if name.startswith("crash-drill")]


def test_it_does_not_begin_beside_a_node(site: Site) -> None:
    with site.node():
        done = _drill(site, "--no-input")
    assert done.returncode == 2
    assert "nodes run and would manage the drill's batches" in done.stderr


def test_it_does_not_begin_unless_told_to(site: Site) -> None:
    # Standard input is at its end: nobody has said yes.
    done = _drill(site, "--anyway")
    assert done.returncode == 2
    assert site.value("demo_crm", "SELECT to_regclass('coordination_crash_drill')::text") is None


def test_what_it_does_not_know_is_named(site: Site) -> None:
    done = _drill(site, "--no-input", "--anyway", "--points=decision.made")
    assert done.returncode == 2
    assert "There is no point decision.made; there are: dispatch.sent" in done.stderr
