"""`launch_batch` where nothing or not everything runs: wrong requests, no manager, no broker, no journal."""

import pytest

from tests.integration.launching import customers, id_of, launch, popen, recorded
from tests.services import Site

__all__ = ["customers"]


@pytest.mark.parametrize(
    "args, words",
    [
        (["nobody", "demo"], "There is no customer 'nobody'"),
        (["acme", "nightly"], "There is no plan 'nightly'; there are: demo"),
        (["acme", "demo", "--param=size=1"], "Parameter size"),
        (["acme", "demo", "--param=tasks=many"], "Parameter tasks"),
        (["acme", "demo", "--param=tasks=0"], "Parameter tasks"),
        (["acme", "demo", "--param=tasks=20001"], "Parameter tasks"),
        (["acme", "demo", "--deadline=never"], "--deadline"),
        (["bare", "demo"], "Customer bare has no database 'ledger'"),
    ],
)
def test_2_one_line_and_nothing_recorded(customers: Site, args: list[str], words: str) -> None:
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


def test_4_with_the_broker_down(site: Site, customers: Site) -> None:
    with site.node():
        site.rabbitmq.stop()
        done = launch(site, "--timeout=12", tasks=3)
        assert done.returncode == 4, done.stderr
        assert "waiting for RabbitMQ: no connection to the broker" in done.stderr


def test_1_with_the_journals_database_down(site: Site, customers: Site) -> None:
    site.postgres.stop()
    done = launch(site, "--idempotency-key=k")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The journal's database cannot be reached" in done.stderr and "--idempotency-key" in done.stderr
    assert done.stderr.count("\n") == 1
    site.postgres.start()


def test_a_restart_of_the_journals_database_is_waited_out(site: Site, customers: Site) -> None:
    process = popen(site, "--timeout=12", tasks=3)
    process.wait_for("PENDING")
    site.postgres.restart()
    assert process.wait(60) == 4, process.log
    assert "Traceback" not in process.log
