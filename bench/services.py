"""What a bench runs on: private servers, a node, and a worker for each place that results go to."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.services import PostgreSQL, RabbitMQ, Redis, Scratch, Site

CONCURRENCY = 2
PREFETCH = 4

# Queue: where the results of its worker's tasks go. The three workers have the same command but for the queue's name.
PLAIN, RESULTS, CHORD = "plain", "results", "chord"


@contextmanager
def running(most_tasks: int, queues: Sequence[str] = (PLAIN, RESULTS, CHORD)) -> Iterator[Site]:
    """Start all, with a worker for each of ``queues``; set this process up as a program of the site; stop all."""
    scratch = Scratch()
    slots = max(2500, most_tasks + 600)
    servers = [
        PostgreSQL(name, scratch=scratch, databases=databases, fsync="on", max_prepared_transactions=slots)
        for name, databases in (("pg1", ["journal", "demo_ledger", "demo_warehouse"]), ("pg2", ["demo_crm"]))
    ]
    rabbitmq, redis = RabbitMQ(scratch=scratch), Redis(scratch=scratch)
    site = Site(scratch=scratch, rabbitmq=rabbitmq, postgres=servers[0], postgres2=servers[1], redis=redis)
    done = Path(scratch.folder) / "done"
    done.touch()
    site.settings.update(
        COORDINATION_APPS="demo,bench",
        DJANGO_SETTINGS_MODULE="bench.settings",
        BENCH_DONE=str(done),
        LOG_LEVEL="WARNING",
    )
    try:
        site.start()
        site.node(wait=False)
        backends = {PLAIN: "", RESULTS: "django-db", CHORD: redis.url}
        for queue in queues:
            arguments = ("-Q", queue, f"--prefetch-multiplier={PREFETCH}")
            site.worker("prefork", CONCURRENCY, *arguments, env={"BENCH_RESULTS": backends[queue]}, wait=False)
        os.environ.update(site.settings, BENCH_RESULTS=redis.url, BENCH_STARTS="1")
        import django

        django.setup()
        _customers()
        yield site
    except (TimeoutError, RuntimeError):
        for process in site.processes:
            print(f"--- {process!r}\n{process.tail(15)}")
        raise
    finally:
        site.stop_processes()
        rabbitmq.stop()
        redis.stop()
        for server in servers:
            server.stop()
        scratch.close()


def _customers() -> None:
    """One customer a queue, each granted the one database."""
    from coordination.models import Customer, CustomerDatabase

    for queue in (PLAIN, RESULTS):
        customer = Customer.objects.create(slug=queue, name=queue, queue=queue)
        CustomerDatabase.objects.create(customer=customer, name="ledger", alias="demo_ledger")
