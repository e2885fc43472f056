"""``@branch_task``, its ticket, and what it leaves of Celery as it was."""

import os
import signal
import threading
import time
import uuid

import pytest
from celery import current_app, shared_task

from coordination.participant.quiet import NoSoftLimit
from coordination.participant.task import BranchTask, NotLaunched, WrongArguments, branch_task, current_branch
from coordination.participant.ticket import BadTicket, NotInABranch, Ticket, running
from coordination.resources.failure import failure_of


class Database:
    name, alias = "ledger", "acme_ledger"


@branch_task
def plain(db: str, path: str, *, dry: bool = False) -> str:
    return f"{db} {path} {dry}"


@branch_task(max_retries=7, autoretry_for=(OSError,), name="other.name")
def with_options(db: str) -> None:
    raise OSError


@branch_task(bind=True)
def bound(self: BranchTask, db: str, path: str) -> str:
    return f"{self.name} {db} {path}"


@shared_task
def unrelated() -> int:
    return 1


def test_what_a_plan_yields() -> None:
    spec = plain.branch("a.csv", dry=True, database=Database)
    assert (spec.task, spec.name) == ("tests.unit.test_participant_task.plain", "plain")
    assert (spec.database, spec.alias) == ("ledger", "acme_ledger")
    assert (spec.args, spec.kwargs) == (("a.csv",), {"dry": True})
    assert plain.branch("a.csv", database=Database, name="Load a.csv").name == "Load a.csv"
    assert with_options.branch(database=Database).task == "other.name"
    assert bound.branch("a.csv", database=Database).args == ("a.csv",)


def test_wrong_arguments_are_found_in_the_plan() -> None:
    """Not on the worker, 99 tasks later."""
    with pytest.raises(WrongArguments, match="path"):
        plain.branch(database=Database)
    with pytest.raises(WrongArguments, match="wet"):
        plain.branch("a.csv", wet=True, database=Database)


@pytest.mark.parametrize("call", [plain, plain.delay, plain.apply_async, lambda *a: plain.s(*a).apply_async()])
def test_calling_it_directly_says_how_it_is_done(call: object) -> None:
    with pytest.raises(NotLaunched, match=r"plain\.branch.*launch.*plain\.run"):
        call(("acme_ledger", "a.csv"))  # type: ignore[operator]


def test_the_body_alone_can_be_run() -> None:
    assert plain.run("acme_ledger", "a.csv") == "acme_ledger a.csv False"
    assert bound.run("acme_ledger", "a.csv").endswith("bound acme_ledger a.csv")


def test_celery_is_as_it_was() -> None:
    """Late acknowledgement and reject-on-lost are our tasks' own."""
    assert (plain.acks_late, plain.reject_on_worker_lost) == (True, True)
    assert with_options.max_retries == 7
    assert not unrelated.acks_late and not unrelated.reject_on_worker_lost
    assert not current_app.conf.task_acks_late and not current_app.conf.task_reject_on_worker_lost
    assert unrelated.apply().get() == 1


TICKET = Ticket(batch=uuid.uuid4(), number=3, of=9, name="a task", alias="acme_ledger", deadline=1.5, again=True)


def test_a_ticket_travels() -> None:
    assert Ticket.read(TICKET.plain()) == TICKET


@pytest.mark.parametrize(
    "broken", [None, "x", {}, {**TICKET.plain(), "batch": "x"}, {**TICKET.plain(), "number": None}]
)
def test_a_broken_ticket_is_refused(broken: object) -> None:
    with pytest.raises(BadTicket):
        Ticket.read(broken)


def test_the_current_branch() -> None:
    with pytest.raises(NotInABranch, match="@branch_task"):
        current_branch()
    with running(TICKET):
        branch = current_branch()
        assert (branch.batch, branch.number, branch.of, branch.name) == (TICKET.batch, 3, 9, "a task")
    with pytest.raises(NotInABranch):
        current_branch()


# --- the soft time limit ------------------------------------------------------------------------------------------


class SoftLimit(Exception):
    pass


@pytest.fixture
def limit() -> object:
    """A handler like that of a prefork child."""

    def raise_it(number: int, frame: object) -> None:
        raise SoftLimit

    before = signal.signal(signal.SIGUSR1, raise_it)
    yield raise_it
    signal.signal(signal.SIGUSR1, before)


def test_the_soft_limit_waits_outside_the_body(limit: object) -> None:
    quiet = NoSoftLimit()
    quiet.impose()
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.01)
    with pytest.raises(SoftLimit):
        quiet.lift()
    assert signal.getsignal(signal.SIGUSR1) is limit
    quiet.impose()
    os.kill(os.getpid(), signal.SIGUSR1)
    quiet.lift(raises=False)
    quiet.lift()
    with pytest.raises(SoftLimit):
        os.kill(os.getpid(), signal.SIGUSR1)


def test_there_is_none_in_other_threads(limit: object) -> None:
    done: list[bool] = []

    def work() -> None:
        quiet = NoSoftLimit()
        quiet.impose()
        quiet.lift()
        done.append(signal.getsignal(signal.SIGUSR1) is limit)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


# --- failures -----------------------------------------------------------------------------------------------------


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_failure_starts_where_the_authors_code_does() -> None:
    try:
        Ticket.read(TICKET.plain() | {"batch": 5})
    except BadTicket as error:
        failure = failure_of(error, before="because: ", after="so there")
    assert failure.type == "BadTicket"
    assert failure.message.startswith("because: The message") and failure.message.endswith(" — so there")
    assert "test_participant_task" in failure.traceback


def test_a_failure_can_always_be_told() -> None:
    """Whatever the author raised: too long, with NUL characters, or broken itself."""
    assert len(failure_of(ValueError("x" * 1_000_000)).message) <= 2000
    assert "\x00" not in failure_of(ValueError("a\x00b")).message
    assert failure_of(Unspeakable()).type == "Unspeakable"
