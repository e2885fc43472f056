"""The commands for people who look after batches: what needs attention, resolving, listing, launching again."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from coordination.journal import claims, requests, writer
from coordination.journal.numbers import counted, in_words, numbers_in
from coordination.models import Attempt, Batch, Branch, Customer, Node, OperatorRequest
from coordination.protocol.coordinator import Coordinator
from coordination.protocol.states import BatchState, BranchState, Declared

from .test_commands import Ran, ends, run, shop  # noqa: F401  # fixtures

pytestmark = pytest.mark.django_db(transaction=True)
Run = Callable[..., Ran]


@pytest.fixture
def batch(run: Run) -> Batch:  # noqa: F811
    """A batch of three tasks that is recorded and goes nowhere."""
    run("launch_batch", "acme", "loads", "--no-wait", "--label", "July")
    return Batch.objects.get()


@pytest.fixture
def committing(batch: Batch) -> Batch:
    """The same, decided two minutes ago; task 1 is committed, 2 and 3 are waited for."""
    ago = timezone.now() - timedelta(minutes=2)
    for branch in batch.branches.all():
        branch.gid, branch.kind, branch.prepared = f"cc_gid_{branch.number}", "two_phase", ago
        branch.state = BranchState.COMMITTED if branch.number == 1 else BranchState.PREPARED
        branch.finished = ago + timedelta(seconds=1) if branch.number == 1 else None
        branch.save()
    Batch.objects.update(
        state="COMMITTING", decision="COMMIT", decided=ago, dispatched=ago, epoch=1,
        counts={"COMMITTED": 1, "PREPARED": 2}, reason="All 3 tasks are prepared",
    )  # fmt: skip
    return Batch.objects.get()


def manage(batch: Batch) -> None:
    """Do what a manager does with what was asked: read the journal, feed the core, store what it says."""
    (claim,), _ = claims.claim("other", [])
    loaded = claims.load(claim)
    assert loaded is not None
    core = Coordinator(loaded.snapshot)
    for asked in claims.asked([batch.pk]):
        if asked.action == "retry":
            core.ask_again(asked.id)
        elif asked.action == "declare":
            core.declare(asked.id, asked.tasks, Declared(asked.fate), f"Declared by {asked.by}: {asked.why}")
        else:
            core.cancel(asked.id, "Cancelled")
    while (write := core.next_write()) is not None:
        core.written(writer.store(batch.pk, claim.epoch, write, core.counts()))


# --- unresolved -----------------------------------------------------------------------------------------------------


def test_all_is_well(run: Run, batch: Batch) -> None:  # noqa: F811
    assert run("unresolved") == (0, "", "")
    code, out, _ = run("unresolved", "--json")
    assert (code, json.loads(out)) == (0, {"batches": [], "nodes": []})


def test_what_needs_attention(run: Run, committing: Batch) -> None:  # noqa: F811
    code, out, err = run("unresolved")
    assert (code, err) == (1, "")
    assert out.startswith(f"UNRESOLVED  {committing.pk}  acme  July  since ")
    assert out.endswith("Decided, but tasks 2-3 (database ledger) are not finished yet.\n")
    code, out, _ = run("unresolved", "--json")
    (one,) = json.loads(out)["batches"]
    assert list(one) == [
        *("id", "url", "customer", "plan", "state", "decision", "reason", "counts", "guarantee"),
        *("created_at", "decided_at", "finished_at", "label", "matter", "since", "tasks", "words"),
    ]
    assert (one["matter"], one["tasks"], one["id"]) == ("unresolved", [2, 3], str(committing.pk))


def test_a_batch_is_given_a_minute(run: Run, committing: Batch, settings: Any) -> None:  # noqa: F811
    Batch.objects.update(decided=timezone.now() - timedelta(seconds=40))
    assert run("unresolved")[0] == 0
    settings.COORDINATION_UNRESOLVED_SECONDS = 30
    assert run("unresolved")[0] == 1


def test_one_past_its_deadline(run: Run, batch: Batch) -> None:  # noqa: F811
    Batch.objects.update(state="ACTIVE", deadline=timezone.now() - timedelta(seconds=20))
    code, out, _ = run("unresolved")
    assert code == 1 and out.startswith("OVERDUE ") and "tasks 1-3 have not voted" in out


def test_a_silent_manager(run: Run, batch: Batch) -> None:  # noqa: F811
    Node.objects.create(name="gone", heartbeat=timezone.now() - timedelta(seconds=30))
    Node.objects.create(name="long gone", heartbeat=timezone.now() - timedelta(hours=2))
    code, out, _ = run("unresolved")
    assert code == 1 and out.startswith("SILENT      manager gone  not heard of since ") and "long" not in out
    assert [node["name"] for node in json.loads(run("unresolved", "--json")[1])["nodes"]] == ["gone"]
    Node.objects.filter(name="node").delete()
    assert "manager long gone" in run("unresolved")[1]


def test_mixed_until_it_is_put_right(run: Run, batch: Batch) -> None:  # noqa: F811
    Branch.objects.filter(number=2).update(state="LOST")
    ends("MIXED")(batch)
    code, out, _ = run("unresolved")
    assert code == 1 and out.startswith("MIXED ") and "Task 2 (database ledger) did not end as decided" in out
    assert run("resolve_batch", batch.pk, "--settle")[0] == 2
    assert run("resolve_batch", batch.pk, "--settle", "--reason", "Row 7 added")[:2] == (0, "Noted: put right\n")
    assert run("unresolved")[0] == 0
    request = OperatorRequest.objects.get()
    assert (request.action, request.why) == ("settle", "Row 7 added")
    assert request.before == request.after == {"state": "MIXED", "decision": "COMMIT"}


def test_only_mixed_ones_are_put_right(run: Run, committing: Batch) -> None:  # noqa: F811
    code, _, err = run("resolve_batch", committing.pk, "--settle", "--reason", "x")
    assert code == 2 and "only what ended mixed" in err and not OperatorRequest.objects.exists()


# --- resolve_batch --------------------------------------------------------------------------------------------------

DECLARE = ("--declare", "lost", "--reason", "The disk is gone", "--no-input", "--no-wait")


def test_declared_and_carried_out(run: Run, committing: Batch) -> None:  # noqa: F811
    code, out, err = run("resolve_batch", committing.pk, *DECLARE, "--tasks", "2")
    assert (code, out) == (0, "Asked\n")
    assert "To be declared lost, for good: That is not as decided: the batch ends MIXED." in err
    assert "2. load on ledger (cc_gid_2)" in err and "3. load" not in err
    manage(committing)
    assert Batch.objects.get().state == "COMMITTING"
    run("resolve_batch", committing.pk, "--declare", "committed", "--tasks", "all", *DECLARE[2:])
    manage(committing)
    assert Batch.objects.get().state == "MIXED"
    first, second = OperatorRequest.objects.order_by("id")
    assert (first.action, first.fate, first.tasks, first.why) == ("declare", "lost", [2], "The disk is gone")
    assert first.result == "Declared lost: 1 task (2)" and first.by.endswith("by command")
    assert first.before == {"state": "COMMITTING", "decision": "COMMIT", "tasks": {"2": "PREPARED"}}
    assert first.after == {"state": "COMMITTING", "decision": "COMMIT", "tasks": {"2": "LOST"}}
    assert (second.tasks, second.after["state"]) == ([3], "MIXED")  # type: ignore[index]
    assert [branch.state for branch in Branch.objects.order_by("number")] == ["COMMITTED", "LOST", "COMMITTED"]
    assert any("The disk is gone" in entry.text for entry in committing.entries.all())
    shown = run("show_batch", committing.pk)[1]
    assert "MIXED" in shown and "task 2 (load): LOST, Declared by" in shown
    assert run("wait_batch", committing.pk)[0] == 5


def test_an_answer_is_waited_for(run: Run, committing: Batch) -> None:  # noqa: F811
    code, _, err = run("resolve_batch", committing.pk, *DECLARE[:-1], "--tasks", "2", "--timeout", "0.2")
    assert code == 4 and "the request stands" in err
    assert OperatorRequest.objects.get().handled is None


def test_a_dry_run_changes_nothing(run: Run, committing: Batch) -> None:  # noqa: F811
    code, out, _ = run("resolve_batch", committing.pk, *DECLARE, "--tasks", "1-2", "--dry-run")
    assert code == 0
    assert "2. load on ledger (cc_gid_2)" in out and "Nothing was changed. Not waiting: task 1." in out
    assert not OperatorRequest.objects.exists()


@pytest.mark.parametrize(
    "args, words",
    [
        (["--tasks", "1", *DECLARE], "these do not: 1"),
        (["--tasks", "x", *DECLARE], "--tasks: 'x' is no number of a task"),
        ([*DECLARE], "--tasks is missing"),
        (["--tasks", "2", "--declare", "lost"], "--reason is missing"),
        (["--tasks", "2", "--declare", "gone", "--reason", "x"], "invalid choice"),
        (["--tasks", "2"], "one of the arguments --retry --declare --settle is required"),
    ],
)
def test_a_wrong_request_records_nothing(run: Run, committing: Batch, args: list[str], words: str) -> None:  # noqa: F811
    code, out, err = run("resolve_batch", committing.pk, *args)
    assert (code, out) == (2, "") and words in err
    assert not OperatorRequest.objects.exists()


def test_undecided_ones_are_cancelled_not_resolved(run: Run, batch: Batch) -> None:  # noqa: F811
    for args in (["--retry"], ["--tasks", "1", *DECLARE]):
        code, _, err = run("resolve_batch", batch.pk, *args)
        assert code == 2 and "cancel it, or wait for its deadline" in err
    assert not OperatorRequest.objects.exists()


def test_the_label_is_typed(run: Run, committing: Batch, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    args = [*DECLARE[:-2], "--no-wait", "--tasks", "2"]
    monkeypatch.setattr("sys.stdin", io.StringIO("June\n"))
    code, _, err = run("resolve_batch", committing.pk, *args)
    assert code == 2 and "that is not its label" in err and not OperatorRequest.objects.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("July\n"))
    assert run("resolve_batch", committing.pk, *args)[:2] == (0, "Asked\n")


def test_too_late(run: Run, committing: Batch) -> None:  # noqa: F811
    ends("COMMITTED")(committing)
    assert run("resolve_batch", committing.pk, *DECLARE, "--tasks", "2")[0] == 5
    code, _, err = run("resolve_batch", committing.pk, "--retry")
    assert code == 5 and "had already ended COMMITTED" in err


def test_asking_again(run: Run, committing: Batch) -> None:  # noqa: F811
    assert run("resolve_batch", committing.pk, "--retry", "--no-wait")[:2] == (0, "Asked\n")
    manage(committing)
    request = OperatorRequest.objects.get()
    assert request.result == "Asked again what became of 2 tasks"
    assert request.before == request.after == {"state": "COMMITTING", "decision": "COMMIT"}


def test_the_same_request_twice_is_one(committing: Batch) -> None:
    first, second = (
        requests.declare(committing.pk, Declared.LOST, [2], by="olga", why="gone", key="one") for _ in range(2)
    )
    assert first.pk == second.pk
    manage(committing)
    assert requests.declare(committing.pk, Declared.LOST, [2], by="olga", why="gone", key="one").pk == first.pk


def test_a_cancellation_keeps_before_and_after(batch: Batch) -> None:
    requests.cancel(batch.pk, by="olga", why="wrong files")
    manage(batch)
    request = OperatorRequest.objects.get()
    assert request.before == {"state": "PENDING", "decision": None}
    assert request.after == {"state": "ROLLED_BACK", "decision": "ROLLBACK"}


def test_a_manager_that_was_overtaken_answers_nothing(committing: Batch) -> None:
    requests.declare(committing.pk, Declared.LOST, [2], by="olga", why="gone")
    (claim,), _ = claims.claim("other", [])
    loaded, asked = claims.load(claim), claims.asked([committing.pk])[0]
    assert loaded is not None
    core = Coordinator(loaded.snapshot)
    core.declare(asked.id, asked.tasks, Declared(asked.fate), "Declared")
    Batch.objects.update(epoch=99)
    write = core.next_write()
    assert write is not None and writer.store(committing.pk, claim.epoch, write, core.counts()) == "untouched"
    request = OperatorRequest.objects.get()
    assert (request.handled, request.before, request.after) == (None, None, None)
    assert Branch.objects.get(number=2).state == BranchState.PREPARED


# --- list_batches, relaunch_batch, show_batch -----------------------------------------------------------------------


def test_list_batches(run: Run, batch: Batch) -> None:  # noqa: F811
    Customer.objects.create(slug="globex", name="Globex")
    code, out, err = run("list_batches")
    assert (code, err) == (0, "")
    assert f'{batch.pk}  PENDING       acme  loads "July"  3 pending\n' in out
    for args, found in (
        (["--customer", "acme"], 1),
        (["--customer", "globex"], 0),
        (["--state", "pending"], 1),
        (["--state", "MIXED", "--state", "COMMITTED"], 0),
        (["--since", "1h"], 1),
        (["--since", "0s"], 0),
    ):
        assert len(json.loads(run("list_batches", "--json", *args)[1])["batches"]) == found, args
    (one,) = json.loads(run("list_batches", "--json")[1])["batches"]
    assert list(one) == [
        *("id", "url", "customer", "plan", "state", "decision", "reason", "counts", "guarantee"),
        *("created_at", "decided_at", "finished_at"),
    ]
    run("launch_batch", "acme", "loads", "--no-wait")
    assert run("list_batches", "--limit", "1")[1].count("\n") == 1
    for args, words in (
        (["--customer", "nobody"], "There is no customer 'nobody'"),
        (["--limit", "0"], "is not a number"),
    ):
        code, _, err = run("list_batches", *args)
        assert code == 2 and words in err


def test_relaunch_batch(run: Run) -> None:  # noqa: F811
    run("launch_batch", "acme", "loads", "--no-wait", "--label", "July", "--param", "count=2", "--deadline", "1h",
        "--idempotency-key", "first")  # fmt: skip
    old = Batch.objects.get()
    code, out, err = run("relaunch_batch", old.pk, "--no-wait", "--json")
    new = Batch.objects.latest("created")
    assert code == 0 and err == f"Batch {new.pk}, as {old.pk} was\n" and json.loads(out)["id"] == str(new.pk)
    assert (new.label, new.tasks, new.deadline_seconds, new.params) == ("July", 2, 3600, old.params)
    assert new.relaunch_of == old and new.key != old.key and new.key is not None
    run("relaunch_batch", old.pk, "--no-wait", "--param", "count=5")
    assert Batch.objects.latest("created").tasks == 5
    code, _, err = run("relaunch_batch", old.pk, "--no-wait", "--param", "count=many")
    assert code == 2 and "Parameter count" in err
    code, _, err = run("relaunch_batch", old.pk, "--no-wait", "--idempotency-key", "first")
    assert code == 6 or "it exists" in err


def test_what_a_batch_went_through(run: Run, committing: Batch) -> None:  # noqa: F811
    for branch, token in ((1, "a"), (2, "b"), (2, "c")):
        Attempt.objects.create(branch=Branch.objects.get(number=branch), token=token, process="p")
    Node.objects.filter(name="node").update(heartbeat=timezone.now() - timedelta(seconds=12))
    Batch.objects.update(node="node")
    claims.claim("other", [])
    recorded = json.loads(run("show_batch", committing.pk, "--json")[1])["recorded"]
    assert list(recorded) == [
        *("takeovers", "recovery_seconds", "redeliveries", "in_doubt_seconds", "longest_in_doubt_seconds"),
    ]
    assert (recorded["takeovers"], recorded["redeliveries"]) == (1, 1)
    assert 12 <= recorded["recovery_seconds"] < 60
    assert 120 <= recorded["in_doubt_seconds"] < 200 and recorded["longest_in_doubt_seconds"] >= 120
    shown = run("show_batch", committing.pk)[1]
    assert "taken over 1 times (without a manager for 12" in shown and "1 tasks run again" in shown


def test_nothing_to_tell_of_a_batch_that_went_nowhere(run: Run, batch: Batch) -> None:  # noqa: F811
    assert json.loads(run("show_batch", batch.pk, "--json")[1])["recorded"] == {
        "takeovers": 0, "recovery_seconds": 0.0, "redeliveries": 0,
        "in_doubt_seconds": None, "longest_in_doubt_seconds": None,
    }  # fmt: skip
    assert "in doubt" not in run("show_batch", batch.pk)[1]
    assert Batch.objects.get().state == BatchState.PENDING and connection.alias == "default"


# --- numbers --------------------------------------------------------------------------------------------------------


def test_numbers_of_tasks() -> None:
    assert numbers_in(" 3, 1-2 ,8 9 – 10") == [1, 2, 3, 8, 9, 10]
    assert in_words([1, 2, 3, 8]) == "1-3, 8"
    assert in_words([1, 3, 5, 7], 2) == "1, 3 and 2 more"
    assert (counted([4]), counted([4, 5])) == ("task 4", "2 tasks (4-5)")
    for wrong in ("0", "5-3", "x", "1-", "-4", "1-9999999", "1-100000 1-100000"):
        with pytest.raises(ValueError):
            numbers_in(wrong)
    assert numbers_in("") == []
