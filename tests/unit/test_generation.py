"""The journal's generation: raised, found behind, released; and the marks that databases bear."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from coordination import conf
from coordination.errors import JournalNotBehind
from coordination.journal import generation
from coordination.journal.generation import Standing
from coordination.journal.pool import JournalPool
from coordination.manager import generation as watching
from coordination.manager.generation import GenerationWatch
from coordination.models import Batch, Customer, Installation, JournalRelease, OperatorRequest
from coordination.protocol.states import BatchState, Decision
from coordination.resources import marks
from coordination.web import health

pytestmark = pytest.mark.django_db(databases=["default", "demo_ledger"], transaction=True)


@pytest.fixture(autouse=True)
def installation() -> Installation:
    """This installation's row: other tests' flushes may have taken the one of the migrations away."""
    Installation.objects.all().delete()
    return Installation.objects.create(id=conf.installation())


def batch(customer: Customer, *, created: timedelta, **fields: object) -> Batch:
    made = Batch.objects.create(
        customer=customer, plan="demo", tasks=1, guarantee="crash_safe", start_by=timezone.now(), deadline_seconds=60,
        **fields,
    )  # fmt: skip
    Batch.objects.filter(pk=made.pk).update(created=timezone.now() + created)
    return made


def test_it_grows_at_most_so_often_and_not_while_it_is_behind() -> None:
    assert generation.raise_generation(10) == 2
    assert generation.raise_generation(10) is None
    assert generation.raise_generation(0) == 3
    generation.found_later(3)
    assert generation.standing() == Standing(generation=3, needed=0)
    generation.found_later(7)
    generation.found_later(5)
    assert generation.standing() == Standing(generation=3, needed=7) and generation.standing().behind
    assert generation.raise_generation(0) is None


def test_a_release_is_recorded_and_asks_the_undecided_of_before_to_roll_back() -> None:
    with pytest.raises(JournalNotBehind):
        generation.release(by="ana", why="for fun", seen=1)
    acme = Customer.objects.create(slug="acme", name="Acme")
    hour = timedelta(hours=1)
    asked = [
        batch(acme, created=-hour),
        batch(acme, created=-hour / 2, state=BatchState.ACTIVE, dispatched=timezone.now()),
    ]
    batch(acme, created=-hour, state=BatchState.COMMITTING, decision=Decision.COMMIT)
    batch(acme, created=-hour, state=BatchState.COMMITTED, decision=Decision.COMMIT, ended=timezone.now())
    batch(acme, created=hour)  # launched while it was behind: nobody has run it
    generation.found_later(7)
    release = generation.release(by="ana", why="seen by hand", seen=9)
    assert (release.by, release.why, release.before, release.after, release.rolled_back) == (
        "ana", "seen by hand", 1, 10, 2,
    )  # fmt: skip
    assert JournalRelease.objects.count() == 1
    requests = OperatorRequest.objects.order_by("id")
    assert [(r.batch, r.action, r.by) for r in requests] == [(each, "cancel", "ana") for each in asked]
    assert all(r.why.endswith("seen by hand") for r in requests)
    assert generation.standing() == Standing(generation=10, needed=0)
    with pytest.raises(JournalNotBehind):
        generation.release(by="ana", why="twice", seen=9)


def test_a_database_remembers_the_latest_generation_of_each_installation() -> None:
    try:
        assert marks.read("demo_ledger", "0000000a") == 0
        for number in (4, 6, 5):
            marks.write("demo_ledger", "0000000a", number)
        marks.write("demo_ledger", "0000000b", 2)
        assert [marks.read("demo_ledger", f"0000000{each}") for each in "abc"] == [6, 2, 0]
    finally:
        with connections["demo_ledger"].cursor() as cursor:
            cursor.execute(f"DROP TABLE {marks.TABLE}")


def test_readyz_says_that_it_is_behind() -> None:
    health._compare_generations()
    Installation.objects.update(needed=7)
    with pytest.raises(health.Missing, match="older than its databases"):
        health._compare_generations()


@pytest.fixture
def journal() -> Iterator[JournalPool]:
    pool = JournalPool(1)
    yield pool
    asyncio.run(pool.run_anyway(connections.close_all))
    pool.close()


def test_an_answer_that_comes_late_counts_with_the_next_look(
    journal: JournalPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    may, asked = threading.Event(), []

    def read(alias: str, installation: str) -> int:
        asked.append(alias)
        may.wait(10)
        return 1

    monkeypatch.setattr(watching, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(marks, "read", read)
    monkeypatch.setattr(marks, "write", lambda *_: None)

    async def look() -> None:
        watch = GenerationWatch(journal, lambda: False)
        watch._unread = {"demo_ledger"}
        for _ in range(2):
            await watch._compare()
        assert not watch.trusted
        may.set()
        while not watch._read:
            await asyncio.sleep(0.01)
        await watch._compare()
        assert watch.trusted and not watch._unread

    asyncio.run(look())
    assert asked == ["demo_ledger"]
    waited = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(waited) == 1 and waited[0].endswith("demo_ledger")


def test_what_was_written_late_is_not_taken_for_read_and_who_failed_is_asked_again(
    journal: JournalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "ANSWER_SECONDS", 0.05)
    may, asked = threading.Event(), []

    def write(alias: str) -> None:
        asked.append("write")
        may.wait(10)

    def fail(alias: str) -> None:
        asked.append("fail")
        raise KeyError(alias)

    async def ask() -> None:
        watch = GenerationWatch(journal, lambda: False)
        await watch._ask(["demo_ledger"], write)
        await watch._ask(["demo_ledger"], fail)
        assert asked == ["write"], "it has not answered yet"
        may.set()
        for _ in range(2):
            known = len(asked)
            while len(asked) == known:
                await asyncio.sleep(0.01)
                await watch._ask(["demo_ledger"], fail)
            while not watch._failing["demo_ledger"]:
                await asyncio.sleep(0.01)
        assert "KeyError" in watch._failing["demo_ledger"] and not watch._read

    asyncio.run(ask())


def test_an_older_word_of_the_journal_that_is_heard_later_drops_nothing(
    journal: JournalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "write", lambda *_: None)
    Installation.objects.update(generation=6)

    async def hear() -> None:
        watch = GenerationWatch(journal, lambda: False)
        watch._looked, watch.trusted, journal.least = True, True, 6
        assert not await watch.hear(Standing(generation=5, needed=0))
        assert watch.trusted and journal.least == 6
        await journal.run_anyway(lambda: Installation.objects.update(generation=5))
        assert await watch.hear(Standing(generation=5, needed=0))

    asyncio.run(hear())
    assert generation.standing() == Standing(generation=5, needed=6)
