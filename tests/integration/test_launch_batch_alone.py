"""`launch_batch` where nothing or not everything runs: wrong requests, no manager, no broker, no journal."""

import pytest

from tests.integration.launching import customers, id_of, launch, popen, recorded
from tests.services import Site
from tests.services.proxy import Proxy

__all__ = ["customers"]


@pytest.mark.parametrize(
    "args, words",
    [
        (["nobody", "demo"], "There is no customer 'nobody'"),
        (["acme", "demo", "--param=tasks=0"], "Parameter tasks"),
        (["acme", "demo", "--deadline=never"], "--deadline"),
        (["bare", "demo"], "Customer bare has no database 'ledger'"),
    ],
)
def test_2_one_line_and_nothing_recorded(customers: Site, args: list[str], words: str) -> None:
    """A process of its own for one of each kind; all that can be wrong: `tests/unit/test_commands.py`."""
    customers.query(
        "default",
        "INSERT INTO coordination_customer (slug, name, queue, max_running_batches, guarantee_floor) "
        "VALUES ('bare', 'Bare', '', 0, 'compensated') ON CONFLICT DO NOTHING",
    )
    before = recorded(customers)
    done = customers.manage("launch_batch", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert recorded(customers) == before


def test_2_half_a_configuration(customers: Site) -> None:
    done = customers.manage("launch_batch", "acme", "demo", env={"REDIS_URL": ""})
    assert done.returncode == 2
    assert "REDIS_URL" in done.stderr and done.stderr.count("\n") == 1


def test_4_without_a_manager(customers: Site) -> None:
    customers.query("default", "UPDATE coordination_node SET heartbeat = now() - interval '11 seconds'")
    done = launch(customers, "--timeout=1", tasks=3)
    assert done.returncode == 4
    assert "Warning: no manager was heard of for 10 s" in done.stderr
    assert f"Not decided within 1 s; batch {id_of(done)} goes on." in done.stderr
    assert done.stdout.startswith("PENDING")
    assert customers.manage("cancel_batch", id_of(done), "--no-wait").returncode == 0


def test_1_with_the_journals_database_down(site: Site, customers: Site) -> None:
    site.postgres.stop()
    done = launch(site, "--idempotency-key=k")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The journal's database cannot be reached" in done.stderr and "--idempotency-key" in done.stderr
    assert done.stderr.count("\n") == 1
    site.postgres.start()


def test_a_restart_of_the_journals_database_is_waited_out(site: Site, customers: Site) -> None:
    """What the journal says afterwards is heard: here that a manager, which this test is, has rolled the batch back."""
    process = popen(site, tasks=3)
    process.wait_for("PENDING")
    site.postgres.restart()
    ended = (
        "UPDATE coordination_batch SET state = 'ROLLED_BACK', decision = 'ROLLBACK', decided = now(), ended = now(),"
        " reason = 'After the restart', queue_deleted = true WHERE id = %s RETURNING state"
    )
    assert site.query("default", ended, [id_of(process.log)]) == [("ROLLED_BACK",)]
    assert process.wait(60) == 3, process.log
    assert "After the restart" in process.log and "Traceback" not in process.log


def test_4_with_the_broker_down(site: Site, customers: Site) -> None:
    """The broker is gone for the node. The second launch finds the batch of the first, which the node then has."""
    proxy = Proxy(site.rabbitmq.port)
    with site.node(env={"AMQP_URL": f"amqp://guest:guest@127.0.0.1:{proxy.port}/"}):
        proxy.stop()
        first = launch(site, "--idempotency-key=down", "--no-wait", tasks=3)
        assert first.returncode == 0, first.stderr
        waiting_for = "SELECT waiting_for FROM coordination_batch WHERE id = %s"
        site.wait_until(lambda: site.value("default", waiting_for, [id_of(first)]), 30, what="why it does not go on")
        done = launch(site, "--idempotency-key=down", "--timeout=1", tasks=3)
        assert done.returncode == 4, done.stderr
        assert "waiting for RabbitMQ: no connection to the broker" in done.stderr
