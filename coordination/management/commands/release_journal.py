"""``manage.py release_journal [--reason R]``: after the journal was restored from a backup."""

import argparse
from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import amqp

from coordination import conf
from coordination.bus import address
from coordination.bus.topology import Topology
from coordination.errors import JournalNotBehind
from coordination.journal import generation
from coordination.management.base import Command as OurCommand
from coordination.management.who import who
from coordination.models import Batch
from coordination.protocol.gid import parse
from coordination.redact import redacted
from coordination.resources import marks, registry
from coordination.resources.base import ResourceError

MOST_LINES = 100
BROKER_SECONDS = 5


class Command(OurCommand):
    """Says what a journal that is older than its databases does not know, and lets nodes work with it again."""

    help = (
        "After the journal was restored from a backup no node works with it, for it takes committed batches for open "
        "ones. Without --reason: say what is in question. With it: release the journal; batches that it does not know "
        "the decision of are rolled back, and none of their tasks is run again. Exits 0, 2 if there is nothing to "
        "release, 1 journal unreachable."
    )
    remedy = "Nothing is known to have been released; doing it twice does no harm."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--reason", default="", help="Why this may be done, for the record.")

    def handle(self, *args: Any, **options: Any) -> None:
        seen = self._seen()
        standing = generation.standing()
        if standing.generation >= max(standing.needed, seen):
            raise JournalNotBehind(generation=standing.generation)
        if options["reason"].strip():
            self._delete_queues(self._unknown(self._prepared()))
            made = generation.release(by=who(), why=options["reason"], seen=seen)
            self.stdout.write(
                f"Released: the journal's generation is {made.after} now. Nodes go on within a second or two;"
                f" {made.rolled_back} undecided batches are rolled back"
            )
            return
        self.stdout.write(
            f"The journal's generation is {standing.generation}, its databases have {max(standing.needed, seen)}: it"
            " was restored from a backup. No node works with it"
        )
        self._say_what_is_in_question()
        self.stdout.write('Look at these first. Then: manage.py release_journal --reason "…"')

    def _seen(self) -> int:
        """The highest generation that a database has now; one that does not answer is named."""
        seen = 0
        for alias in registry.aliases():
            try:
                seen = max(seen, marks.read(alias, conf.installation()))
            except ResourceError as error:
                self.stderr.write(redacted(f"Not asked: {error}"))
        return seen

    def _say_what_is_in_question(self) -> None:
        undecided = generation.in_question()
        prepared = self._prepared()
        lines = [
            f"  {batch.pk} {batch.customer.slug} {batch}, launched {batch.created:%Y-%m-%d %H:%M:%S}Z:"
            f" {batch.tasks} tasks, {prepared[batch.pk]} of them prepared"
            for batch in undecided.values()
        ]
        self._list("Undecided as far as it knows; to be rolled back, and not to be run again", lines)
        lines = [f"  {batch}: {prepared[batch]} prepared" for batch in self._unknown(prepared)]
        self._list("Prepared for batches that it does not know; to be rolled back", lines)

    def _prepared(self) -> Counter[UUID]:
        """How many transactions are prepared now, by batch."""
        found: Counter[UUID] = Counter()
        for alias in registry.aliases():
            try:
                gids = [parse(each.gid) for each in registry.resource_of(alias).recover()]
                found.update(parts.batch for parts in gids if parts)
            except ResourceError as error:
                self.stderr.write(redacted(f"Not asked: {error}"))
        return found

    def _unknown(self, prepared: Iterable[UUID]) -> list[UUID]:
        """Those of these batches that the journal does not know."""
        known = set(Batch.objects.filter(pk__in=list(prepared)).values_list("pk", flat=True))
        return [batch for batch in prepared if batch not in known]

    def _delete_queues(self, batches: Iterable[UUID]) -> None:
        """Nobody will read them: without them, the votes for what these batches have prepared are strays, and answered.

        What is in them comes again: the sweep votes for all that is prepared.
        """
        url, names = conf.broker_url(), Topology(conf.installation())
        if address.is_local(url):
            return
        try:
            with amqp.Connection(**address.read(url).blocking_options(), connect_timeout=BROKER_SECONDS) as connection:
                channel = connection.channel()
                for batch in batches:
                    channel.queue_delete(names.batch_queue(batch))
        except (OSError, amqp.AMQPError) as error:
            self.stderr.write(f"Queues that nobody reads go by themselves after a day ({type(error).__name__})")

    def _list(self, title: str, lines: list[str]) -> None:
        self.stdout.write(f"{title}: {len(lines) or 'none'}")
        for line in lines[:MOST_LINES]:
            self.stdout.write(line)
        if len(lines) > MOST_LINES:
            self.stdout.write(f"  and {len(lines) - MOST_LINES} more")
