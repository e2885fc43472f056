"""What the drill writes to: a customer of its own in the journal, and a scratch table in each database."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from celery import current_app
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from coordination.drill.tasks import TABLE, write
from coordination.journal.insert import NewBatch, NewBranch, insert
from coordination.models import Batch, Customer
from coordination.protocol.states import BATCH_ENDED, BatchState, Guarantee
from coordination.resources import registry
from coordination.resources.base import ResourceError

SLUG = "crash-drill"
ROUNDS = 2
"""How many tasks a batch has for each database."""
DEADLINE = timedelta(minutes=2)
LOCK_SECONDS = 5


@dataclass(frozen=True)
class Scratch:
    """The customer, its Celery queue, and the databases."""

    customer: int
    queue: str
    aliases: tuple[str, ...]

    @property
    def tasks(self) -> int:
        """How many a batch has."""
        return ROUNDS * len(self.aliases)

    def launch(self, what: str, *, fails: bool) -> uuid.UUID:
        """A batch of the drill; with ``fails`` its last task does."""
        batch = uuid.uuid4()
        branches = [self._branch(number, fails=fails and number == self.tasks) for number in range(1, self.tasks + 1)]
        insert(
            NewBatch(
                id=batch, customer=self.customer, plan=SLUG, params={"what": what}, key=None, label=what,
                guarantee=Guarantee.CRASH_SAFE, start_within=DEADLINE, deadline=DEADLINE, created_by=None,
                relaunch_of=None, entry=f"Launched by crash_drill: {what}",
            ),
            branches,
        )  # fmt: skip
        return batch

    def _branch(self, number: int, *, fails: bool) -> NewBranch:
        alias = self.aliases[number % len(self.aliases)]
        return NewBranch(
            number=number, task=write.name, name=f"write {number}", database=alias, alias=alias,
            args=f'{{"args": [], "kwargs": {{"fails": {str(fails).lower()}}}}}',
        )  # fmt: skip

    def problems(self, batch: uuid.UUID, *, fails: bool) -> list[str]:
        """What is wrong with a batch that has ended; empty if it is all there, or nothing of it. Raises what a
        database does."""
        state = BatchState(Batch.objects.values_list("state", flat=True).get(pk=batch))
        if state not in (BatchState.COMMITTED, BatchState.ROLLED_BACK):
            return [f"batch {batch} ended {state}"]
        if fails and state is BatchState.COMMITTED:
            return [f"batch {batch} committed, although a task of it failed"]
        wanted = 1 if state is BatchState.COMMITTED else 0
        rows = self._rows(batch)
        wrong = [number for number in range(1, self.tasks + 1) if rows.count(number) != wanted]
        if wrong:
            return [f"batch {batch} is {state}, and rows of task {', '.join(map(str, wrong))} say otherwise"]
        return []

    def _rows(self, batch: uuid.UUID) -> list[int]:
        found = []
        for alias in self.aliases:
            with connections[alias].cursor() as cursor:
                cursor.execute(f"SELECT task FROM {TABLE} WHERE batch = %s", [batch])
                found += [row[0] for row in cursor.fetchall()]
        return found

    def left(self, batches: Sequence[uuid.UUID]) -> str:
        """What of these batches is not over yet, in words; empty: nothing. A database that is away is not over."""
        try:
            states = dict(Batch.objects.filter(pk__in=batches).values_list("pk", "state"))
            for batch, state in states.items():
                if state not in BATCH_ENDED:
                    return f"batch {batch} is still {state}"
            for alias in self.aliases:
                for found in registry.resource_of(alias).recover():
                    if any(batch.hex in found.gid for batch in batches):
                        return f"{found.gid} is still prepared in {alias}"
            dirty = Batch.objects.filter(pk__in=batches, queue_deleted=False).first()
            return f"the queue of batch {dirty.pk} is still there" if dirty else ""
        except (DatabaseError, ResourceError) as error:
            connections.close_all()
            return f"a database does not answer: {error}"


@contextlib.contextmanager
def scratch(aliases: Sequence[str]) -> Iterator[Scratch]:
    """The customer and the tables. At the end the tables are dropped, and the journal keeps nothing of the drill but
    batches that went wrong."""
    queue = f"{SLUG}-{uuid.uuid4().hex[:8]}"
    customer, _ = Customer.objects.update_or_create(
        slug=SLUG, defaults={"name": "Crash drill (may be deleted)", "queue": queue}
    )
    for alias in aliases:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (batch uuid NOT NULL, task int NOT NULL)")
    try:
        yield Scratch(customer.pk, queue, tuple(aliases))
    finally:
        connections.close_all()
        for alias in aliases:
            with connections[alias].cursor() as cursor:
                cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
                cursor.execute(f"DROP TABLE {TABLE}")
        if not Batch.objects.using(DEFAULT_DB_ALIAS).filter(customer__slug=SLUG).exists():
            Customer.objects.using(DEFAULT_DB_ALIAS).filter(slug=SLUG).delete()
        with contextlib.suppress(Exception), current_app.connection_for_write() as connection:
            connection.default_channel.queue_delete(queue)  # It is empty, and nobody's.


def forget(batches: Sequence[uuid.UUID]) -> None:
    """Take batches of the drill that went well out of the journal."""
    Batch.objects.using(DEFAULT_DB_ALIAS).filter(pk__in=batches, customer__slug=SLUG).delete()
