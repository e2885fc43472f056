"""Somebody else's project (`tests/adopter`), outside the repository, with `coordination` from its wheel."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SCRATCH
from tests.services import PostgreSQL, Process, RabbitMQ, wait_until
from tests.services.site import KEPT, ROOT

DAY = "2026-07-01"
LEDGERS = {"acme": "acme_ledger", "globex": "globex_ledger"}


@dataclass
class Adopter:
    """The copied project, and how to run something of it."""

    folder: Path
    env: dict[str, str]
    databases: dict[str, tuple[PostgreSQL, str]]

    def run(self, *command: object, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a Python command line in the project."""
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def python(self, program: str, **env: str) -> Any:
        """Run a program with Django set up; what it assigns to `result` comes back."""
        whole = f"import json, django\ndjango.setup()\n{program}\nprint('RESULT' + json.dumps(result, default=repr))"
        return json.loads(self.run("-c", whole, **env).stdout.rpartition("RESULT")[2])

    def popen(self, name: str, *command: str) -> Process:
        """Start a long-running command."""
        return Process(
            f"adopter-{name}",
            [sys.executable, *command],
            scratch=SCRATCH,
            env=self.env,
            cwd=self.folder,
            log_path=self.folder / f"{name}.log",
        )

    def query(self, alias: str, sql: str) -> list[tuple[Any, ...]]:
        server, name = self.databases[alias]
        return server.query(name, sql)

    def balances(self, customer: str) -> list[tuple[str, str]]:
        """What is in a customer's ledger."""
        sql = "SELECT number, balance::text FROM loads_account ORDER BY number"
        return [(number, balance) for number, balance in self.query(LEDGERS[customer], sql)]

    def file(self, customer: str, name: str, *rows: str, day: str = DAY) -> None:
        """Put a file where the plan will find it."""
        folder = self.folder / "files" / customer / day
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(("number,balance", *rows)) + "\n")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `coordination` as the built wheel installs it, and nothing else."""
    built, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site-packages")
    for command in (
        ["build", "--wheel", "--no-isolation", "--outdir", str(built), str(ROOT)],
        ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)],
    ):
        found = [str(path) for path in built.glob("*.whl")]
        subprocess.run([sys.executable, "-m", *command, *found], check=True, capture_output=True, timeout=120)
    return target


@pytest.fixture(scope="module")
def adopter(
    wheel: Path,
    postgres: PostgreSQL,
    postgres2: PostgreSQL,
    rabbitmq: RabbitMQ,
    tmp_path_factory: pytest.TempPathFactory,
) -> Adopter:
    """The project with its databases made, its customers entered, and nothing running."""
    folder = tmp_path_factory.mktemp("adopter") / "project"
    shutil.copytree(ROOT / "tests" / "adopter", folder, ignore=shutil.ignore_patterns("__pycache__"))
    databases = {
        "default": (postgres, "adopter"),
        "acme_ledger": (postgres, "adopter_acme"),
        "globex_ledger": (postgres2, "adopter_globex"),
    }
    for server, name in databases.values():
        server.createdb(name)
    env = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)} | {
        "PYTHONPATH": str(wheel),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "adopter.settings",
        "ADOPTER_BROKER": rabbitmq.url,
        "ADOPTER_FILES": str(folder / "files"),
    }
    for variable, alias in (("DATABASE", "default"), ("ACME", "acme_ledger"), ("GLOBEX", "globex_ledger")):
        server, name = databases[alias]
        env[f"ADOPTER_{variable}"] = server.url_of(name)
    made = Adopter(folder, env, databases)
    made.python(
        "from django.core.management import call_command\n"
        f"for alias in {list(databases)!r}: call_command('migrate', database=alias, verbosity=0)\n"
        "from coordination.models import Customer, CustomerDatabase\n"
        "for slug in ('acme', 'globex'):\n"
        "    customer = Customer.objects.create(slug=slug, name=slug.title())\n"
        "    CustomerDatabase.objects.create(customer=customer, name='ledger', alias=f'{slug}_ledger')\n"
        "result = None"
    )
    return made


@pytest.fixture(scope="module")
def running(adopter: Adopter) -> Iterator[Adopter]:
    """The project with a node and one worker."""
    worker = ("-m", "celery", "-A", "adopter", "worker", "--loglevel=INFO", "--concurrency=2", "-n", "adopter@test")
    with adopter.popen("node", "manage.py", "runmanager") as node, adopter.popen("worker", *worker) as process:
        # By the journal: this project has Django's own logging, which is silent.
        heard = "SELECT 1 FROM coordination_node WHERE heartbeat > now() - interval '2 seconds'"
        wait_until(lambda: adopter.query("default", heard), 30, what="the node's heartbeat")
        process.wait_for(r"adopter@test ready")
        try:
            yield adopter
        finally:
            print(node.tail(), process.tail(), sep="\n")


def test_it_runs_from_the_wheel_alone(adopter: Adopter, wheel: Path) -> None:
    assert adopter.python("import coordination; result = coordination.__file__").startswith(str(wheel))
    assert adopter.run("manage.py", "makemigrations", "--check", "--dry-run").returncode == 0
    assert adopter.run("manage.py", "check", "--database", "default").returncode == 0
    assert {path.name.split("-")[0] for path in wheel.iterdir()} - {"bin"} == {"coordination", "conditional_commit"}


def test_no_setting_of_celery_changes(adopter: Adopter) -> None:
    program = (
        "from adopter.celery import app\n"
        "app.loader.import_default_modules()\n"
        "from celery.app.defaults import DEFAULTS\n"
        "result = {key: repr(app.conf[key]) for key in DEFAULTS}\n"
        "task = app.tasks['chores.tasks.write_note']\n"
        "names = ('acks_late', 'reject_on_worker_lost', 'ignore_result')\n"
        "result |= {name: repr(getattr(task, name)) for name in names}"
    )
    with_us, without = adopter.python(program), adopter.python(program, ADOPTER_WITHOUT_COORDINATION="1")
    assert len(with_us) > 100
    assert with_us == without


def test_both_outcomes_for_both_customers(running: Adopter) -> None:
    for customer, amount in (("acme", 10), ("globex", 20)):
        running.file(customer, "a.csv", f"a1,{amount}.00", f"a2,{amount}.50")
        running.file(customer, "b.csv", f"b1,{amount}.25")
        done = running.run("manage.py", "launch_batch", customer, "nightly", "--param", f"day={DAY}", "--json")
        result = json.loads(done.stdout)
        assert (result["state"], result["counts"]) == ("COMMITTED", {"COMMITTED": 2})
        assert running.balances(customer) == [("a1", f"{amount}.00"), ("a2", f"{amount}.50"), ("b1", f"{amount}.25")]

    # The next day acme's second file is broken in its last row; globex's are fine.
    day = "2026-07-02"
    for customer in LEDGERS:
        running.file(customer, "a.csv", "c1,1.00", day=day)
        running.file(customer, "b.csv", "d1,2.00", "d2,much" if customer == "acme" else "d2,3.00", day=day)
    before = running.balances("acme")
    launch = ("manage.py", "launch_batch", "acme", "nightly", "--param", f"day={day}", "--json")
    done = running.run(*launch, check=False)
    assert done.returncode == 3, done.stderr
    result = json.loads(done.stdout)
    assert result["state"] == "ROLLED_BACK"
    assert [(error["task"], error["type"]) for error in result["errors"]] == [(2, "ValidationError")]
    assert running.balances("acme") == before
    running.run("manage.py", "launch_batch", "globex", "nightly", "--param", f"day={day}")
    assert len(running.balances("globex")) == 6
    assert running.databases["default"][0].prepared() == running.databases["globex_ledger"][0].prepared() == []


def test_other_tasks_on_the_same_worker_notice_nothing(running: Adopter) -> None:
    running.python("from chores.tasks import write_note; result = write_note.delay('hello').id")
    wanted = ["hello", "hello: acks_late=False, autocommit=True"]
    sql = "SELECT text FROM chores_note WHERE text LIKE 'hello%' ORDER BY id"
    wait_until(lambda: [row[0] for row in running.query("default", sql)] == wanted, 20, what="the note")


def test_from_python_and_what_is_sent_afterwards(running: Adopter) -> None:
    """`launch` and `wait`, `alaunch` and `outcome`; `on_committed` and `on_rolled_back` reach ordinary tasks."""
    good, bad = "2026-07-03", "2026-07-04"
    running.file("acme", "a.csv", "e1,1.00", day=good)
    running.file("acme", "a.csv", "f1,not money", day=bad)
    program = f"""
import asyncio
from chores.tasks import tell
from coordination.api import alaunch, launch
from loads.plans import Nightly

signatures = dict(on_committed=tell.s("it is in"), on_rolled_back=tell.s("it is not in"))
first = launch("acme", Nightly, {{"day": "{good}"}}, **signatures).wait(timeout=60)

async def main():
    batch = await alaunch("acme", "nightly", {{"day": "{bad}"}}, **signatures)
    return await batch.outcome(timeout=60)

second = asyncio.run(main())
result = [first.committed, first.state, second.committed, second.state, second.reason]
"""
    committed, first, rolled_back, second, reason = running.python(program)
    assert (committed, first, rolled_back, second) == (True, "COMMITTED", False, "ROLLED_BACK")
    assert "Task 1 of 1 failed: ValidationError" in reason
    sql = "SELECT text FROM chores_note WHERE text LIKE 'it is%' ORDER BY id"
    wait_until(
        lambda: {row[0] for row in running.query("default", sql)} == {"it is in", "it is not in"},
        20,
        what="the notes of both ends",
    )
