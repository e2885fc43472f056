"""What the site makes of its environment: half a configuration is refused, with the remedy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from orchestrator_site.checks import problems, refuse_to_start
from orchestrator_site.environment import read
from orchestrator_site.home import Home, socket_folder
from orchestrator_site.routers import SiteRouter

COMPLETE = {
    "AMQP_URL": "amqp://guest:s3cret@mq.example/",
    "DATABASE_URL": "postgresql://app:s3cret@db.example:5432/journal",
    "REDIS_URL": "redis://redis.example:6379/0",
    "TARGET_DATABASES": "acme_ledger=postgresql://app:s3cret@one.example/ledger,acme_crm=mysql://app:x@two.example/crm",
    "SECRET_KEY": "a long random text that nobody else knows, honestly",
    "COORDINATION_INSTALLATION": "00c0ffee",
}


def found(**changes: str | None) -> list[CheckMessage]:
    """What the checks say of the complete environment with `changes`; None takes a variable away."""
    variables = {name: value for name, value in {**COMPLETE, **changes}.items() if value is not None}
    return problems(read(variables))


def test_a_complete_environment_is_accepted() -> None:
    assert found() == []


@pytest.mark.parametrize("missing", ["AMQP_URL", "DATABASE_URL", "REDIS_URL"])
def test_half_a_configuration_names_what_is_missing(missing: str) -> None:
    [problem] = found(**{missing: None})
    assert problem.id == "orchestrator_site.E001"
    assert f"{missing} missing" in problem.msg
    assert problem.hint and problem.hint.startswith(f"Set {missing}=")


def test_without_any_service_all_is_in_the_home() -> None:
    embedded = read({"ORCHESTRATOR_HOME": "/somewhere/a home"})
    assert problems(embedded) == []
    assert (embedded.journal["NAME"], embedded.journal["HOST"]) == ("journal", "/somewhere/a home/run")
    assert sorted(embedded.targets) == ["demo_crm", "demo_ledger", "demo_warehouse"]
    assert read({"PORT": "8123"}).public_url == "http://127.0.0.1:8123"


@pytest.mark.parametrize("changes", [{"PORT": "http"}, {"PORT": "65536"}, {"TARGET_DATABASES": "a=postgresql://h/x"}])
def test_what_the_home_cannot_do_is_said(changes: dict[str, str]) -> None:
    [problem] = problems(read(changes))
    assert problem.id == "orchestrator_site.E002" and next(iter(changes)) in problem.msg


@pytest.mark.parametrize("folder", ["/" + "long/" * 20, "/a,b", '/a"b'])
def test_a_home_whose_path_cannot_be_a_sockets_has_it_elsewhere(folder: str) -> None:
    assert re.fullmatch(r"/tmp/orchestrator-[0-9a-f]{16}", str(socket_folder(Path(folder))))
    assert socket_folder(Path(folder)) != socket_folder(Path(folder + "2"))


def test_web_and_worker_of_nothing_refuse_to_start(settings) -> None:
    settings.HOME = Home(Path("/nobody/is/in/it"))
    with pytest.raises(ImproperlyConfigured, match="make demo") as refused:
        refuse_to_start()
    for name in ("AMQP_URL", "DATABASE_URL", "REDIS_URL"):
        assert f"{name}=" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"SECRET_KEY": None}, "E003"),
        ({"COORDINATION_INSTALLATION": None}, "E004"),
        ({"COORDINATION_INSTALLATION": "c0ffee"}, "E004"),
        ({"COORDINATION_INSTALLATION": "00C0FFEE"}, "E004"),
        ({"TARGET_DATABASES": None}, "E005"),
        ({"TARGET_DATABASES": "postgresql://app:s3cret@one.example/ledger"}, "E002"),
        ({"TARGET_DATABASES": "acme=postgresql://app:s3cret@one.example"}, "E002"),
        ({"TARGET_DATABASES": "default=postgresql://app:s3cret@one.example/x"}, "E002"),
        ({"TARGET_DATABASES": "a=postgresql://app:s3cret@h/x,a=postgresql://app:s3cret@h/y"}, "E002"),
        ({"DATABASE_URL": "nonsense s3cret"}, "E002"),
        ({"DATABASE_URL": "mysql://app:s3cret@h/x"}, "E002"),
        ({"PUBLIC_URL": "batches.example.com"}, "E002"),
        ({"PUBLIC_URL": "http://[batches.example.com"}, "E002"),
        ({"LOG_LEVEL": "LOUD"}, "E002"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy_and_without_passwords(changes: dict[str, str | None], code: str) -> None:
    [problem] = found(**changes)
    assert problem.id == f"orchestrator_site.{code}"
    assert problem.hint
    assert "s3cret" not in f"{problem.msg} {problem.hint}"


def test_targets_are_read_with_what_their_urls_say() -> None:
    targets = read(
        {**COMPLETE, "TARGET_DATABASES": "a=postgresql://u:p%2Fw@h:1/x?sslmode=require, b=postgresql://h/y,"}
    )
    assert sorted(targets.targets) == ["a", "b"]
    assert targets.targets["a"]["PASSWORD"] == "p/w"
    assert targets.targets["a"]["OPTIONS"] == {"sslmode": "require"}
    assert targets.unreadable == {}


def test_targets_that_are_not_asked_to_prepare() -> None:
    """SQLite cannot; others say so. What says so is not an option of the database."""
    url = "postgresql://h/x?two_phase"
    held = f"a=sqlite:////srv/a file.sqlite3,b={url}=hold&sslmode=require,d=sqlite:////srv/d?two_phase=hold"
    targets = f"{held},c={url}=require"
    environment = read({**COMPLETE, "TARGET_DATABASES": targets})
    assert environment.unreadable == {} and problems(environment) == []
    assert environment.held == {"a", "b", "d"}
    assert environment.targets["a"]["NAME"] == "/srv/a file.sqlite3"
    assert environment.targets["b"]["OPTIONS"] == {"sslmode": "require"}
    assert not environment.targets["c"].get("OPTIONS")


@pytest.mark.parametrize(
    "target",
    ["sqlite:///srv/x.db", "sqlite://:memory:", "sqlite:////x?two_phase=require", "postgresql://h/x?two_phase=no"],
)
def test_what_a_target_cannot_promise(target: str) -> None:
    [problem] = found(TARGET_DATABASES=f"crm=postgresql://h/crm,mine={target}")
    assert problem.id == "orchestrator_site.E002" and "mine" in problem.msg


@pytest.mark.parametrize("name", ["COORDINATION_HOLD_LIMIT", "COORDINATION_MAX_HELD"])
def test_limits_of_what_is_held_are_numbers(name: str) -> None:
    assert found(**{name: "30"}) == []
    for wrong in ("0", "-1", "soon", "2.5"):
        [problem] = found(**{name: wrong})
        assert problem.id == "orchestrator_site.E002" and name in problem.msg


def test_a_secret_key_may_begin_with_a_dollar() -> None:
    assert read({**COMPLETE, "SECRET_KEY": "$HOME is where"}).secret_key == "$HOME is where"


def test_the_public_url_says_who_may_call_and_whether_cookies_are_secure() -> None:
    plain, secure = read({}), read({"PUBLIC_URL": "https://batches.example.com/"})
    assert not plain.secure and plain.allowed_hosts == ("127.0.0.1", "localhost", "[::1]")
    assert secure.secure and secure.allowed_hosts[0] == "batches.example.com"
    assert secure.websocket_origin == "wss://batches.example.com"
    assert read({"ALLOWED_HOSTS": "a.example, b.example"}).allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("database", "app", "allowed"),
    [
        ("default", "coordination", True),
        ("default", "auth", True),
        ("default", "django_celery_results", True),
        ("default", "demo", False),
        ("default", "loads", False),
        ("demo_ledger", "demo", True),
        ("demo_ledger", "coordination", False),
        ("demo_ledger", "auth", False),
        ("acme_ledger", "demo", False),
        ("acme_ledger", "loads", True),
    ],
)
def test_tables_are_made_where_they_belong(settings, database: str, app: str, allowed: bool) -> None:
    settings.COORDINATION_APPS = ["demo", "somewhere.loads"]
    assert SiteRouter().allow_migrate(database, app) is allowed


@pytest.mark.parametrize("wanted, kind", [("", "DatabaseBackend"), ("none", "DisabledBackend")])
def test_results_are_kept_or_not_whatever_celery_reads_by_itself(wanted: str, kind: str) -> None:
    program = "import django; django.setup(); import orchestrator_site; print(orchestrator_site.celery_app.backend)"
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings", **COMPLETE}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**env, "CELERY_RESULT_BACKEND": wanted}, capture_output=True, text=True
    )
    assert f".{kind} " in done.stdout, done.stderr
