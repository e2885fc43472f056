"""A history to look at: customers with past batches of every outcome in the journal, for screenshots and browser tests.

    people(site)                customers and people; returns the cookie of a session of each, by the person's name
    seed(site)                  the same, and past batches; returns the batches' ids by "customer: label"
    seed_open(site)             batches that are open, in each phase. A node that is not there has them, so that no
                                other takes them up, for ten minutes or until end_open(site)
    python -m tests.services.history [--people | --open]    the same, in a process with the environment of any site

It is made by ``demo_data`` (sign in as acme_operator, globex_operator, initech_operator, acme_staff or admin, with the
password ``PASSWORD``) and the rows of ``STORIES``. Acme has seen everything, Globex has a batch that needs attention,
Initech has none yet. Nothing was run for it: no task, no prepared transaction, no row in a target.
"""

import json
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from coordination.protocol.states import BatchState, BranchState, Decision

if TYPE_CHECKING:
    from tests.services.site import Site

PASSWORD = "for the tests"  # as all tests have it: whichever comes first makes the people
PEOPLE = ("acme_operator", "globex_operator", "initech_operator", "acme_staff", "admin")
NODE = "load1"
"""The node that has the open batches."""
DATABASES = ("ledger", "warehouse", "crm")
DIVISION = ("ZeroDivisionError", "division by zero")
DUPLICATE = (
    "IntegrityError",
    'duplicate key value violates unique constraint "account_number_key"\nDETAIL:  Key (number)=(4711) already exists.',
)
S, B = BatchState, BranchState


@dataclass(frozen=True, kw_only=True)
class Story:
    """One batch: ``age`` is how long ago it was launched, ``seconds`` how long it took, ``failed`` errors by task."""

    customer: str
    label: str
    state: BatchState
    age: timedelta
    tasks: int = 100
    seconds: float = 12
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    reason: str = ""
    waiting_for: str = ""
    who: str = ""
    key: str | None = None
    progress: float = 0.6
    """Of an open batch: the share of its tasks that are as far as they can be."""


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


def nights(customer: str, count: int, *, first: float, tasks: int) -> list[Story]:
    """Nightly loads that went well, the latest of them ``first`` hours ago."""
    return [
        Story(customer=customer, label=f"Nightly load, night {count - n}", state=S.COMMITTED, tasks=tasks,
              age=hours(first + 24 * n), seconds=9 + n % 5 * 2.5, key=f"nightly-{count - n}")
        for n in range(count)
    ]  # fmt: skip


STORIES = [
    *nights("acme", 18, first=13, tasks=240),
    Story(customer="acme", label="Price list, spring", state=S.ROLLED_BACK, age=hours(2), who="acme_operator",
          failed={50: DIVISION}, reason="Task 50 of 100 failed: ZeroDivisionError: division by zero"),
    Story(customer="acme", label="Accounts from the old system", state=S.ROLLED_BACK, age=hours(5), tasks=1200,
          seconds=48, who="acme_operator", failed=dict.fromkeys(range(17, 1000, 61), DUPLICATE),
          reason="Task 17 of 1,200 failed: IntegrityError: duplicate key value violates unique constraint"
                 ' "account_number_key"'),
    Story(customer="acme", label="Price list, first try", state=S.ROLLED_BACK, age=hours(30), who="acme_operator",
          reason="Cancelled by acme_operator: wrong files"),
    Story(customer="acme", label="Stock count of all warehouses", state=S.ROLLED_BACK, age=hours(54), tasks=60,
          seconds=900, reason="Deadline passed: 3 of 60 tasks have not voted"),
    Story(customer="acme", label="Everything at once", state=S.ROLLED_BACK, age=hours(77), tasks=6000, seconds=0.4,
          who="admin", reason="2,000 tasks write to the server of demo_crm, which holds at most 1,200 prepared"
                              " transactions (max_prepared_transactions): make the batch smaller"),
    Story(customer="acme", label="", state=S.COMMITTED, age=hours(1), tasks=1, seconds=0.3, who="acme_operator"),
    *nights("globex", 6, first=9, tasks=90),
    Story(customer="globex", label="Ledger of the third quarter", state=S.MIXED, age=hours(3), who="globex_operator",
          reason="All 100 tasks voted to commit"),
    Story(customer="globex", label="<b>Bold</b> & <script>alert(1)</script>", state=S.ROLLED_BACK, age=hours(28),
          tasks=12, failed={7: ("ValueError", "<img src=x onerror=alert(1)> is not a number")},
          reason="Task 7 of 12 failed: ValueError: <img src=x onerror=alert(1)> is not a number"),
]  # fmt: skip

OPEN_STORIES = [
    Story(customer="acme", label="Nightly load, tonight", state=S.ACTIVE, age=timedelta(seconds=42), tasks=240,
          seconds=48),
    Story(customer="acme", label="Orders of the week", state=S.COMMITTING, age=timedelta(minutes=3), tasks=900,
          progress=0.85, who="acme_operator"),
    Story(customer="acme", label="Returns", state=S.PENDING, age=timedelta(minutes=1), tasks=1500,
          waiting_for="500 prepared slots on crm, 320 are free", who="acme_operator"),
    Story(customer="globex", label="Invoices", state=S.ROLLING_BACK, age=timedelta(minutes=6), tasks=80,
          failed={3: DIVISION}, reason="Task 3 of 80 failed: ZeroDivisionError: division by zero"),
    Story(customer="globex", label="Contracts", state=S.COMMITTING, age=timedelta(minutes=20), tasks=48,
          progress=0.75, who="globex_operator"),
]  # fmt: skip


def people(site: "Site") -> dict[str, str]:
    """Make who is to look, in the journal of ``site``; the session cookie of each, who is signed in by it."""
    return _run(site, "--people")


def seed(site: "Site") -> dict[str, str]:
    """Put the history into the journal of ``site``, whose services run; the ids of its batches by "customer: label"."""
    return _run(site)


def seed_open(site: "Site") -> dict[str, str]:
    """Put batches that are open into it, and the node that has them."""
    heard = "INSERT INTO coordination_node VALUES (%s, now(), now() + interval '10 minutes', %s) RETURNING name"
    site.query("default", heard, [NODE, len(OPEN_STORIES)])
    return _run(site, "--open")


def end_open(site: "Site") -> None:
    """They have ended, and their node is gone."""
    ended = "UPDATE coordination_batch SET state = 'ROLLED_BACK', ended = now() WHERE node = %s AND ended IS NULL"
    site.query("default", f"{ended} RETURNING id", [NODE])
    site.query("default", "DELETE FROM coordination_node WHERE name = %s RETURNING name", [NODE])


def _run(site: "Site", *args: str) -> dict[str, str]:
    command = [*site.python, "-m", "tests.services.history", *args]
    done = site.run(command, check=True, env={"DEMO_PASSWORD": PASSWORD}, timeout=120)
    made: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return made


def session_of(person: str) -> str:
    """Sign a person in; the session's cookie."""
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client()
    client.force_login(get_user_model().objects.get(username=person))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def branch_states(story: Story) -> list[BranchState]:
    """The state of each of its tasks, by number."""
    count, done = story.tasks, round(story.tasks * story.progress)
    if story.state is S.COMMITTED:
        return [B.COMMITTED] * count
    if story.state is S.MIXED:
        return [B.COMMITTED] * 41 + [B.HEURISTIC_ROLLBACK] + [B.COMMITTED] * (count - 42)
    if story.state is S.ACTIVE:
        return [B.PREPARED] * done + [B.RUNNING] * 16 + [B.PENDING] * (count - done - 16)
    if story.state is S.COMMITTING:
        return [B.COMMITTED] * done + [B.PREPARED] * (count - done)
    if story.state is S.PENDING:
        return [B.PENDING] * count
    if story.seconds < 1:
        return [B.NOT_RUN] * count
    ran = min(count, max([*story.failed, count // 2]) + 8)
    left = B.PREPARED if story.state is S.ROLLING_BACK else B.ROLLED_BACK
    return [B.FAILED if n in story.failed else left if n <= ran else B.NOT_RUN for n in range(1, count + 1)]


def store(story: Story) -> str:
    """Make the rows of one batch: as a manager would have left them."""
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from coordination.models import Batch, Customer, JournalEntry

    states = branch_states(story)
    created = timezone.now() - story.age
    ran = story.state is not S.PENDING and states[0] is not B.NOT_RUN
    dispatched = created + timedelta(seconds=min(0.4, story.seconds / 3)) if ran else None
    end = created + timedelta(seconds=story.seconds)
    decided = None if story.state in (S.PENDING, S.ACTIVE) else created + timedelta(seconds=0.95 * story.seconds)
    decision = _decision(story)
    batch = Batch.objects.create(
        customer=Customer.objects.get(slug=story.customer),
        plan="demo",
        params={"tasks": story.tasks, "fail_at": 50, "rows": 10, "seconds": "0.200"},
        label=story.label,
        key=story.key,
        tasks=story.tasks,
        state=story.state,
        decision=decision if decided else None,
        reason=(story.reason or f"All {story.tasks:,} tasks voted to commit") if decided else "",
        waiting_for=story.waiting_for,
        guarantee="crash_safe",
        counts=dict(Counter(state.value for state in states)),
        seq=3,
        epoch=1,
        node=NODE,
        start_by=created + timedelta(hours=1),
        deadline_seconds=86_400,  # so on another day: the words are as long as they get
        deadline=dispatched + timedelta(days=1) if dispatched else None,
        created_by=get_user_model().objects.filter(username=story.who).first(),
        dispatched=dispatched,
        decided=decided,
        ended=end + timedelta(seconds=0.1) if story.state in (S.COMMITTED, S.ROLLED_BACK, S.MIXED) else None,
        queue_deleted=True,
    )
    Batch.objects.filter(pk=batch.pk).update(created=created)
    _store_branches(batch, story, states, end)
    entries = [(created, f"Launched by {story.who or 'cron on load1'}: plan demo, {story.tasks:,} tasks")]
    if decided:
        entries.append((decided, f"Decided {decision}: {batch.reason}"))
    for seq, (at, text) in enumerate(entries):
        JournalEntry.objects.filter(pk=JournalEntry.objects.create(batch=batch, seq=seq, text=text).pk).update(at=at)
    return str(batch.pk)


def _decision(story: Story) -> Decision:
    return Decision.ROLLBACK if story.state in (S.ROLLED_BACK, S.ROLLING_BACK) else Decision.COMMIT


def _store_branches(batch: Any, story: Story, states: list[BranchState], end: Any) -> None:
    from coordination.models import Attempt, Branch

    branches, attempts = [], []
    began = sum(state not in (B.PENDING, B.NOT_RUN) for state in states)
    work = timedelta(seconds=min(0.25, story.seconds / 10))
    for number, state in enumerate(states, start=1):
        database = DATABASES[(number - 1) % 3]
        ran = batch.dispatched is not None and state not in (B.PENDING, B.NOT_RUN)
        started = batch.dispatched + timedelta(seconds=story.seconds * 0.85 * number / began) if ran else None
        error = _error(*story.failed[number]) if state is B.FAILED else None
        voted = started + work if started and state is not B.RUNNING else None
        ended = None if state in (B.PENDING, B.RUNNING, B.PREPARED) else batch.decided
        if ended and voted and not error:  # its database had still to hear of the decision
            ended += (end - ended) * number / len(states)
        branch = Branch(
            batch=batch, number=number, task="demo.tasks.write_entries", name=f"write_entries {number}",
            database=database, alias=f"demo_{database}", state=state, seq=2, sent=ran,
            args={"args": [number], "kwargs": {"rows": 10, "fail_at": 50, "seconds": 0.2, "api_token": "s3cret"}},
            process=f"worker-{number % 4 + 1}@load1" if ran else "", started=started,
            gid=f"cc_5eed5eed_{batch.pk.hex}_{number}_0-{number:016x}" if voted and not error else None,
            prepared=voted if state is not B.FAILED else None, finished=ended, error=error,
            evidence={"rows": 10, "work_ms": 212.4, "prepare_ms": 1.1} if voted and not error else None,
            how="Its prepared transaction was rolled back by hand" if state is B.HEURISTIC_ROLLBACK else "",
        )  # fmt: skip
        branches.append(branch)
        if ran:
            vote = None if state is B.RUNNING else Decision.ROLLBACK if error else Decision.COMMIT
            attempts.append(Attempt(branch=branch, token=f"{number:016x}", process=branch.process, retries=0,
                                    vote=vote, error=error, ended=voted))  # fmt: skip
    Branch.objects.bulk_create(branches)
    Attempt.objects.bulk_create(attempts)
    for attempt in attempts:
        attempt.started = attempt.branch.started  # type: ignore[assignment]  # it ran
    Attempt.objects.bulk_update(attempts, ["started"], batch_size=1000)


def _error(kind: str, message: str) -> dict[str, str]:
    where = '  File "/srv/loads/demo/tasks.py", line 19, in write_entries\n    5 / (fail_at - number)\n'
    trace = f"Traceback (most recent call last):\n{where}    ~~^~~~~~~~~~~~~~~~~~~~\n{kind}: {message}"
    return {"type": kind, "message": message, "traceback": trace}


def main() -> None:
    """Seed the site that the environment names, and print what was made as JSON."""
    import django

    django.setup()
    from django.core.management import call_command

    os.environ.setdefault("DEMO_PASSWORD", PASSWORD)
    call_command("demo_data")
    if "--people" in sys.argv[1:]:
        print(json.dumps({person: session_of(person) for person in PEOPLE}))
        return
    stories = OPEN_STORIES if "--open" in sys.argv[1:] else STORIES
    print(json.dumps({f"{story.customer}: {story.label}": store(story) for story in stories}))


if __name__ == "__main__":
    main()
