"""The commands, on a real journal that this file moves as a manager would. Real managers: the integration tests."""

import contextlib
import io
import json
import os
import pty
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import connections
from django.utils import timezone

from coordination import plans
from coordination.journal import queries, requests
from coordination.management.durations import duration
from coordination.models import (
    Batch,
    Branch,
    Customer,
    CustomerDatabase,
    JournalEntry,
    Node,
    OperatorRequest,
)

pytestmark = pytest.mark.django_db(transaction=True)

Ran = tuple[int, str, str]


@pytest.fixture(autouse=True)
def shop(settings: Any) -> Iterator[None]:
    """One customer, and the app with plans of all kinds."""
    settings.INSTALLED_APPS = [*(app for app in settings.INSTALLED_APPS if app != "demo"), "tests.unit.shop"]
    settings.COORDINATION_DATABASES = {"demo_ledger": {"two_phase": "require"}}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    plans._find_plans.cache_clear()
    acme = Customer.objects.create(slug="acme", name="Acme")
    CustomerDatabase.objects.create(customer=acme, name="ledger", alias="demo_ledger")
    Node.objects.create(name="node", heartbeat=timezone.now() + timedelta(hours=1))
    yield
    plans._find_plans.cache_clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command as `manage.py` would; returns its exit code, stdout and stderr."""

    def run(name: str, *args: object) -> Ran:
        capsys.readouterr()
        code = 0
        try:
            load_command_class("coordination", name).run_from_argv(["manage.py", name, *map(str, args)])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def later() -> Iterator[Callable[..., None]]:
    """Does something to the one batch, in a thread, as soon as it is there."""
    threads: list[threading.Thread] = []

    def later(change: Callable[[Batch], None], after: float = 0.0) -> None:
        def work() -> None:
            try:
                until = time.monotonic() + 20
                while (batch := Batch.objects.first()) is None and time.monotonic() < until:
                    time.sleep(0.01)
                assert batch is not None
                time.sleep(after)
                change(batch)
            finally:
                connections.close_all()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield later
    for thread in threads:
        thread.join(30)


def ends(state: str, **values: Any) -> Callable[[Batch], None]:
    """A change that ends the batch."""
    decision = "ROLLBACK" if state == "ROLLED_BACK" else "COMMIT"
    counts = {"ROLLED_BACK": {"FAILED": 1, "ROLLED_BACK": 2}, "COMMITTED": {"COMMITTED": 3}, "MIXED": {"LOST": 3}}[
        state
    ]
    now = timezone.now()

    def change(batch: Batch) -> None:
        Batch.objects.filter(pk=batch.pk).update(
            state=state, decision=decision, counts=counts, decided=now, ended=now, **values
        )

    return change


# --- launch_batch -----------------------------------------------------------------------------------------------


def test_committed(run: Callable[..., Ran], later: Callable[..., None]) -> None:
    later(ends("COMMITTED", reason="All 3 tasks voted to commit"), after=0.3)
    code, out, err = run("launch_batch", "acme", "loads", "--label", "July")
    batch = Batch.objects.get()
    assert code == 0
    assert out.startswith(f'COMMITTED  batch {batch.pk} "July", plan loads of acme\n')
    assert "why: All 3 tasks voted to commit" in out and "tasks: 3 committed" in out
    lines = err.splitlines()
    assert lines[0] == f"Batch {batch.pk}"
    assert lines[1].endswith("Z PENDING: 3 pending") and lines[2].endswith("Z COMMITTED: 3 committed")
    assert len(lines) == 3
    assert (
        JournalEntry.objects.get().text.startswith("Launched by ") and "by command" in JournalEntry.objects.get().text
    )


def test_rolled_back_as_json(run: Callable[..., Ran], later: Callable[..., None]) -> None:
    def fails(batch: Batch) -> None:
        failed = {"type": "ZeroDivisionError", "message": "division by zero", "traceback": "…"}
        Branch.objects.filter(batch=batch, number=2).update(state="FAILED", error=failed)
        ends("ROLLED_BACK", reason="Task 2 of 3 failed")(batch)

    later(fails)
    code, out, _ = run("launch_batch", "acme", "loads", "--json")
    batch = Batch.objects.get()
    assert code == 3
    result = json.loads(out)
    assert list(result) == [
        *("id", "url", "customer", "plan", "state", "decision", "reason", "counts", "guarantee"),
        *("created_at", "decided_at", "finished_at", "errors"),
    ]
    assert result["id"] == str(batch.pk)
    assert (result["customer"], result["plan"]) == ("acme", "loads")
    assert (result["state"], result["decision"]) == ("ROLLED_BACK", "ROLLBACK")
    assert result["counts"] == {"FAILED": 1, "ROLLED_BACK": 2}
    assert result["guarantee"] == "crash_safe"
    assert result["created_at"] == batch.created.isoformat() and result["finished_at"] is not None
    error = {"task": 2, "name": "load", "database": "ledger", "state": "FAILED"}
    assert result["errors"] == [error | {"type": "ZeroDivisionError", "message": "division by zero"}]


def test_mixed_names_the_tasks(run: Callable[..., Ran], later: Callable[..., None]) -> None:
    def harm(batch: Batch) -> None:
        Branch.objects.filter(batch=batch, number=3).update(state="HEURISTIC_ROLLBACK", how="somebody undid it")
        ends("MIXED")(batch)

    later(harm)
    code, out, _ = run("launch_batch", "acme", "loads")
    assert code == 5
    assert "MIXED" in out and "task 3 (load): HEURISTIC_ROLLBACK, somebody undid it" in out


def test_no_wait(run: Callable[..., Ran]) -> None:
    code, out, err = run("launch_batch", "acme", "loads", "--no-wait", "--json", "--deadline", "1h30m")
    assert code == 0
    assert json.loads(out)["state"] == "PENDING"
    assert err == f"Batch {Batch.objects.get().pk}\n"
    assert Batch.objects.get().deadline_seconds == 5400


def test_timeouts(run: Callable[..., Ran], later: Callable[..., None]) -> None:
    code, out, err = run("launch_batch", "acme", "loads", "--timeout", "0.2s")
    batch = Batch.objects.get()
    assert code == 4 and out.startswith("PENDING")
    assert f"Not decided within 0.2 s; batch {batch.pk} goes on. To watch it: manage.py wait_batch {batch.pk}" in err

    Batch.objects.update(state="COMMITTING", decision="COMMIT")
    code, out, err = run("wait_batch", batch.pk, "--timeout", "0.2")
    assert code == 5 and out.startswith("COMMITTING")
    assert "Decided COMMIT, but not carried out everywhere within 0.2 s" in err


def test_a_journal_that_is_gone_just_when_nodes_are_looked_for_is_waited_for(
    run: Callable[..., Ran], later: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def without_a_connection() -> bool:
        looks.append(1)
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        raise AssertionError("the connection has not ended")

    monkeypatch.setattr(queries, "nodes_heard_of", without_a_connection)
    later(ends("ROLLED_BACK", reason="Task 2 of 3 failed"), after=0.3)
    code, out, _ = run("launch_batch", "acme", "loads")
    assert code == 3 and "Task 2 of 3 failed" in out and looks


def test_keys(run: Callable[..., Ran]) -> None:
    run("launch_batch", "acme", "loads", "--no-wait", "--idempotency-key", "nightly")
    batch = Batch.objects.get()
    code, _, err = run("launch_batch", "acme", "loads", "--no-wait", "--idempotency-key", "nightly")
    assert code == 0 and err == f"Batch {batch.pk} (it exists: same idempotency key)\n"
    code, out, err = run("launch_batch", "acme", "loads", "--idempotency-key", "nightly", "--param", "count=4")
    assert (code, out) == (6, "")
    assert err == f"Idempotency key 'nightly' belongs to batch {batch.pk} of acme, which was another request.\n"
    assert Batch.objects.count() == 1


@pytest.mark.parametrize(
    "args, words",
    [
        (["nobody", "loads"], "There is no customer 'nobody'; there are: acme."),
        (["acme", "nightly"], "There is no plan 'nightly'; there are: broken-plan, loads."),
        (["acme", "loads", "--param", "count=many"], "Parameter count: Enter a whole number."),
        (["acme", "loads", "--param", "count"], "--param 'count' is not NAME=VALUE."),
        (["acme", "loads", "--param", "count=1", "--param", "count=2"], "Parameter count: Enter a whole number."),
        (["acme", "loads", "--param", "size=1"], "Parameter size: this plan has no such parameter"),
        (["acme", "loads", "--param", "count=0"], "yields no task"),
        (["acme", "loads", "--param", "count=20001"], "more than 20,000 tasks"),
        (["acme", "loads", "--params", "/no/such/file"], "/no/such/file: No such file or directory."),
        (["acme", "loads", "--deadline", "soon"], "argument --deadline: 'soon' is not a length of time"),
        (["acme", "loads", "--deadline", "30d"], "The deadline cannot be 30 days"),
        (["acme", "loads", "--idempotency-key", ""], "The idempotency key cannot be empty"),
        (["acme", "broken-plan", "--param", "how=unknown_database"], "has no database 'archive'"),
        (["acme", "broken-plan", "--param", "how=raises"], "Plan broken-plan failed while it listed its tasks"),
        (["acme"], "the following arguments are required: plan"),
        (["acme", "loads", "--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_a_wrong_request_is_one_line_and_nothing_recorded(run: Callable[..., Ran], args: list[str], words: str) -> None:
    code, out, err = run("launch_batch", *args)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1
    assert not Batch.objects.exists() and not JournalEntry.objects.exists()


def test_parameters_from_a_file_and_from_stdin(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"count": 2, "kinds": ["a", "b"], "note": "from the file"}')
    run("launch_batch", "acme", "loads", "--no-wait", "--params", file, "--param", "note=typed")
    batch = Batch.objects.get()
    assert batch.tasks == 2
    assert (batch.params["kinds"], batch.params["note"]) == (["a", "b"], "typed")

    monkeypatch.setattr("sys.stdin", io.StringIO('{"count": 5, "dry": false}'))
    run("launch_batch", "acme", "loads", "--no-wait", "--params", "-", "--param", "kinds=a", "--param", "kinds=b")
    batch = Batch.objects.latest("created")
    assert (batch.tasks, batch.params["dry"], batch.params["kinds"]) == (5, False, ["a", "b"])

    for text, words in (("{", "is not JSON"), ("[1]", "is not a JSON object")):
        file.write_text(text)
        code, _, err = run("launch_batch", "acme", "loads", "--params", file)
        assert code == 2 and words in err


def test_a_warning_while_no_manager_is_heard_of(run: Callable[..., Ran]) -> None:
    Node.objects.update(heartbeat=timezone.now() - timedelta(seconds=11))
    code, _, err = run("launch_batch", "acme", "loads", "--timeout", "0.3")
    assert code == 4
    assert err.count("Warning: no manager was heard of for 10 s") == 1


def test_what_it_waits_for_is_said(run: Callable[..., Ran], later: Callable[..., None]) -> None:
    later(lambda batch: Batch.objects.update(waiting_for="300 slots on crm, 210 free") and None)
    _, out, err = run("launch_batch", "acme", "loads", "--timeout", "0.5")
    assert "PENDING: 3 pending; waiting for 300 slots on crm, 210 free" in err
    assert "waiting for 300 slots on crm, 210 free" in out


def test_from_a_program_it_raises_with_the_exit_code(later: Callable[..., None]) -> None:
    later(ends("ROLLED_BACK", reason="Task 2 of 3 failed"))
    with pytest.raises(CommandError, match="ROLLED_BACK: Task 2 of 3 failed") as caught:
        call_command("launch_batch", "acme", "loads")
    assert caught.value.returncode == 3


def test_a_bar_on_a_terminal(later: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    later(lambda batch: Batch.objects.update(state="ACTIVE", counts={"PREPARED": 2, "RUNNING": 1}) and None)
    later(ends("COMMITTED"), after=0.5)
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr("sys.stderr", terminal)
        call_command("launch_batch", "acme", "loads", stdout=io.StringIO())
    shown = ""
    with contextlib.suppress(OSError):  # so a terminal ends whose other side is closed
        while True:
            shown += os.read(ours, 10_000).decode(errors="replace")
    os.close(ours)
    assert "2 of 3" in shown and "2 prepared" in shown and "COMMITTED" in shown


# --- the other commands -----------------------------------------------------------------------------------------


@pytest.fixture
def batch(run: Callable[..., Ran]) -> Batch:
    """A batch that is recorded and goes nowhere."""
    run("launch_batch", "acme", "loads", "--no-wait")
    return Batch.objects.get()


@pytest.mark.parametrize("command", ["wait_batch", "show_batch", "cancel_batch"])
@pytest.mark.parametrize("id", ["7b4f5a52-9f0b-4f66-8a4e-4a3c8f1f0a11", "17", ""])
def test_no_such_batch(run: Callable[..., Ran], command: str, id: str) -> None:
    code, out, err = run(command, id)
    assert (code, out) == (2, "")
    assert "There is no batch" in err and err.count("\n") == 1


def test_wait_batch(run: Callable[..., Ran], batch: Batch) -> None:
    ends("COMMITTED")(batch)
    assert run("wait_batch", batch.pk)[0] == 0
    code, out, _ = run("wait_batch", batch.pk.hex, "--json")
    assert code == 0 and json.loads(out)["state"] == "COMMITTED"


def test_show_batch(run: Callable[..., Ran], batch: Batch) -> None:
    failed = {"type": "ZeroDivisionError", "message": "division by zero", "traceback": "Traceback\n  line 5"}
    Branch.objects.filter(number=2).update(state="FAILED", error=failed)
    ends("ROLLED_BACK", reason="Task 2 of 3 failed")(batch)
    code, out, err = run("show_batch", batch.pk, "--errors")
    assert (code, err) == (0, "")
    assert out.startswith(f"ROLLED_BACK  batch {batch.pk}")
    assert "Launched by" in out
    assert "✕ 2. load (ledger): Failed. ZeroDivisionError: division by zero" in out
    assert "      Traceback\n        line 5\n" in out
    assert "Traceback" not in run("show_batch", batch.pk, "--failed")[1]
    assert json.loads(run("show_batch", batch.pk, "--json")[1])["errors"][0]["task"] == 2


@pytest.mark.parametrize("args", [["show_batch", "--errors"], ["show_batch", "--json"], ["wait_batch"]])
def test_passwords_are_not_printed(run: Callable[..., Ran], batch: Batch, args: list[str]) -> None:
    said = "no postgres://ana:s3cret@db/x"
    failed = {"type": "OperationalError", "message": said, "traceback": f"Traceback\n  {said}"}
    Branch.objects.filter(number=2).update(state="FAILED", error=failed)
    batch.entries.create(text=said)
    requests.cancel(batch.pk, by="ana", why=said)
    ends("ROLLED_BACK", reason=said)(batch)
    _, out, err = run(args[0], batch.pk, *args[1:])
    assert "s3cret" not in out + err and "postgres://ana:••••••@db/x" in out


URL = "postgres://ana:s3cret@db/x"


@pytest.mark.parametrize(
    "args",
    [("launch_batch", "acme", URL), ("launch_batch", "acme", "loads", f"--database={URL}"), ("show_batch", URL)],
)
def test_errors_name_no_passwords(run: Callable[..., Ran], args: list[str]) -> None:
    code, out, err = run(*args)
    assert code == 2 and "postgres://ana:••••••@db/x" in err and "s3cret" not in out + err


@pytest.mark.parametrize("result", ["Cancelled", "Too late", "Declared"])
@pytest.mark.parametrize("command", [("cancel_batch",), ("resolve_batch", "--retry")])
def test_answers_name_no_passwords(
    run: Callable[..., Ran], later: Callable[..., None], batch: Batch, command: list[str], result: str
) -> None:
    def manager(batch: Batch) -> None:
        until = time.monotonic() + 20
        while not OperatorRequest.objects.update(handled=timezone.now(), result=f"{result}: {URL}"):
            assert time.monotonic() < until
            time.sleep(0.01)

    Batch.objects.filter(pk=batch.pk).update(decision="COMMIT")
    later(manager)
    _, out, err = run(command[0], batch.pk, *command[1:])
    assert f"{result}: postgres://ana:••••••@db/x" in out + err and "s3cret" not in out + err


def test_cancel_batch(run: Callable[..., Ran], later: Callable[..., None], batch: Batch) -> None:
    def manager(batch: Batch) -> None:
        until = time.monotonic() + 20
        while not OperatorRequest.objects.exists() and time.monotonic() < until:
            time.sleep(0.01)
        OperatorRequest.objects.update(handled=timezone.now(), result="Cancelled")

    later(manager)
    code, out, err = run("cancel_batch", batch.pk, "--reason", "wrong files")
    assert (code, out, err) == (0, "Cancelled\n", "")
    request = OperatorRequest.objects.get()
    assert (request.batch, request.action, request.why, request.who) == (batch, "cancel", "wrong files", None)
    assert request.by.endswith("by command")
    assert "Cancel asked by" in run("show_batch", batch.pk)[1]


def test_cancel_batch_without_an_answer(run: Callable[..., Ran], batch: Batch) -> None:
    assert run("cancel_batch", batch.pk, "--no-wait")[:2] == (0, "Asked\n")
    code, _, err = run("cancel_batch", batch.pk, "--timeout", "0.2")
    assert code == 4 and "the request stands" in err
    assert OperatorRequest.objects.filter(handled=None).count() == 2


def test_cancel_batch_too_late(run: Callable[..., Ran], batch: Batch) -> None:
    ends("COMMITTED")(batch)
    code, out, err = run("cancel_batch", batch.pk)
    assert (code, out, err) == (5, "", "Too late: the batch had already ended COMMITTED\n")
    assert OperatorRequest.objects.get().handled is not None


# --- durations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, seconds",
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172_800), (" 1H ", 3600), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5m-", "1h 30m", "1w", "m", "1e3", "9999999999999d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError):
        duration(text)
