"""What the product is run with: the compose file says what it must, and the same commands run under a supervisor.

The compose file is held against the compose specification's own schema. It was not run with Docker.
"""

import configparser
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator_site import environment
from tests.integration.launching import customers, launch, rows
from tests.services import Site

__all__ = ["customers"]

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = ("web", "node", "worker")


@pytest.fixture(scope="module")
def compose() -> Any:
    return YAML(typ="safe").load(ROOT / "docker-compose.yml")


@pytest.fixture(scope="module")
def supervised() -> dict[str, str]:
    """The command of each process that `make services` runs."""
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "deploy/supervisord.conf")
    return {name.removeprefix("program:"): parser[name]["command"] for name in parser if name.startswith("program:")}


def test_the_compose_file_is_one() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, "docker-compose.yml"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    wrong = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    wrong["services"]["web"]["port"] = wrong["services"]["web"].pop("ports")
    done = subprocess.run([*command, "-"], input=json.dumps(wrong), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "'port'" in done.stdout


def test_the_commands_are_those_of_make_services(compose: Any, supervised: dict[str, str]) -> None:
    for name in PROCESSES:
        command = compose["services"][name]["command"].replace("-b 0.0.0.0 -p 8000", "-b 127.0.0.1 -p %(ENV_PORT)s")
        assert command == supervised[name]
    assert set(supervised) == set(PROCESSES)
    assert compose["services"]["migrate"]["command"] in (ROOT / "Makefile").read_text()


def test_the_variables_are_those_that_the_site_reads(compose: Any) -> None:
    for name in (*PROCESSES, "migrate"):
        values = {
            variable: re.sub(r"\$\{(\w+)(:-([^}]*)|:\?[^}]*)?\}", lambda match: match[3] or "0123abcd", value)
            for variable, value in compose["services"][name]["environment"].items()
        }
        read = environment.read(values)
        assert read.unreadable == {} and read.missing_services == [] and read.secret_key and read.installation
        assert list(read.targets) == ["demo_ledger", "demo_warehouse", "demo_crm"]
        hosts = [read.journal["HOST"], *(target["HOST"] for target in read.targets.values())]
        assert hosts == ["postgres1", "postgres1", "postgres1", "postgres2"]
        assert set(hosts) < set(compose["services"])
    made = set(re.findall(r"CREATE DATABASE (\w+);", (ROOT / "deploy/databases.sql").read_text()))
    assert made == {"ledger", "warehouse"}


def test_every_service_is_watched_and_waited_for(compose: Any) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert ("healthcheck" in service) != (name == "migrate"), name
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed == "migrate" else "service_healthy"
            assert how == {"condition": wanted}
    for name in ("postgres1", "postgres2"):
        assert "max_prepared_transactions=2500" in services[name]["command"]
        assert "migrate" in services["web"]["depends_on"] and name in services["migrate"]["depends_on"]


def test_nothing_secret_is_in_the_files() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("RABBITMQ_PASSWORD", "POSTGRES_PASSWORD", "SECRET_KEY", "COORDINATION_INSTALLATION"):
        assert f"${{{name}:?" in text
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER batches$", dockerfile, re.MULTILINE) and "SECRET" not in dockerfile
    copied = {line.split()[1] for line in dockerfile.splitlines() if line.startswith("COPY ")}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored and {line[1:] for line in ignored if line.startswith("!")} == copied


def test_each_process_ends_well_when_it_is_told_to(site: Site) -> None:
    workers = [site.worker("prefork", wait=False), site.worker("threads", wait=False)]
    node = site.node(wait=False)
    web = site.web()
    node.wait_for(r"Node .* ready")
    for worker in workers:
        worker.wait_for(r"@test ready\.")
    for process in (web, node, *workers):
        process.send(signal.SIGTERM)
    for process in (web, node, *workers):
        assert process.wait(8) == 0, process.tail()
        assert "Traceback" not in process.log


def test_a_supervisor_runs_a_batch_and_ends_all_well(customers: Site, tmp_path: Path) -> None:
    site = customers
    bin = str(Path(sys.executable).parent)
    surroundings = {"PATH": f"{bin}:{site.env['PATH']}", "PORT": str(site.web_port), "ORCHESTRATOR_HOME": str(tmp_path)}
    assert "Database demo_crm" in site.manage("migrate_all", "--verbosity", "0", check=True).stdout
    supervisor = site.popen("supervisor", ["supervisord", "-c", "deploy/supervisord.conf"], env=surroundings)
    supervisor.wait_for(r"Node .* ready")
    supervisor.wait_for(r"celery@\S+ ready\.")
    done = launch(site, "--json", tasks=20, fail_at=0)
    assert done.returncode == 0, done.stderr
    assert sum(rows(site, json.loads(done.stdout)["id"])) == 200
    for name in PROCESSES:
        supervisor.wait_for(rf"success: {name} entered RUNNING state")
    supervisor.send(signal.SIGTERM)
    assert supervisor.wait(20) == 0
    for name in PROCESSES:
        assert re.search(rf"stopped: {name} \(exit status 0\)", supervisor.log), supervisor.tail(60)
