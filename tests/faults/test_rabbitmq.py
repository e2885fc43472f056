"""RabbitMQ dies, is restarted, loses queues, in the middle of batches; nodes and workers stay as they are."""

import time
from collections.abc import Iterator
from uuid import UUID

import amqp
import pytest

from coordination.api import launch
from coordination.bus.topology import MAILBOX_ARGUMENTS, Topology, vote_key
from coordination.protocol import gid as gids
from coordination.protocol.encoding import decode, encode
from coordination.protocol.messages import Order, VoteItem, Votes
from coordination.protocol.states import Decision, Kind
from tests.integration.batches import (
    adopted,
    attempts,
    doubled,
    ended,
    field,
    in_state,
    nothing_left,
    prepared,
    rows,
)
from tests.services import Process, Site

AWAY_SECONDS = 3


@pytest.fixture(scope="module")
def node(whole_site: Site) -> Iterator[Process]:
    """A node, beside two workers of two slots; all of them live to the end."""
    whole_site.demo_data()
    with whole_site.node() as node, whole_site.worker("prefork", 2) as one, whole_site.worker("threads", 2) as other:
        children = one.children()
        yield node
        assert node.alive and one.alive and other.alive
        assert one.children() == children
        # Celery's pool of threads can stand still after a reconnection: then it does not end either.
        assert (one.stop(), other.stop()) == (0, 0)


def some(customer: str, tasks: int, fail_at: int = 0, seconds: float = 0.5) -> str:
    """Launch from this process."""
    return str(launch(customer, "demo", {"tasks": tasks, "fail_at": fail_at, "rows": 10, "seconds": seconds}).id)


def test_killed_in_the_middle_of_five_batches(node: Process, orm: Site) -> None:
    """Row 27. Away for a while: nobody exits, what was confirmed is there again, and each batch ends as it must."""
    good = [some(customer, 10) for customer in ("acme", "globex", "initech", "acme")]
    bad = some("globex", 10, fail_at=10)
    orm.wait_until(lambda: sum(in_state(orm, batch, "PREPARED") for batch in good) >= 4, 30, what="four votes stored")
    orm.rabbitmq.kill()
    assert [field(orm, batch, "decision") for batch in (*good, bad)] == [None] * 5
    votes = set().union(*(adopted(orm, batch) for batch in good))
    time.sleep(AWAY_SECONDS)
    orm.rabbitmq.start()
    began = time.monotonic()
    assert [ended(orm, batch) for batch in good] == ["COMMITTED"] * 4
    assert ended(orm, bad) == "ROLLED_BACK"
    print(f"ended {time.monotonic() - began:.1f} s after the broker was back; {len(votes)} votes were in before")
    assert votes <= set().union(*(adopted(orm, batch) for batch in good)), "confirmed votes survive"
    assert [(rows(orm, batch), doubled(orm, batch)) for batch in good] == [(100, [])] * 4
    assert rows(orm, bad) == 0
    nothing_left(orm, bad, *good)


def test_restarted_in_good_order(node: Process, orm: Site) -> None:
    """Row 27. stop_app closes connections politely; start_app, and all goes on."""
    batch = some("acme", 16, seconds=0.3)
    orm.wait_until(lambda: in_state(orm, batch, "PREPARED") >= 2, 30, what="two votes stored")
    orm.rabbitmq.ctl("stop_app")
    orm.rabbitmq.ctl("start_app")
    assert ended(orm, batch) == "COMMITTED"
    assert (rows(orm, batch), doubled(orm, batch)) == (160, [])
    nothing_left(orm, batch)


def test_queues_deleted_under_their_readers(node: Process, orm: Site) -> None:
    """Rows 28, 31. The batch's queue goes with the votes in it, and later votes reach nobody; all mailboxes go."""
    names = Topology(orm.installation)
    batch = some("acme", 20, seconds=0.3)
    queue = names.batch_queue(UUID(batch))
    orm.wait_until(lambda: in_state(orm, batch, "PREPARED") >= 4, 30, what="four votes stored")
    # Those that a killed process of another test has left have no reader.
    queues = orm.rabbitmq.queues()
    mailboxes = [name for name in queues if name.startswith(names.mailbox("")) and queues[name].consumers]
    assert len(mailboxes) == 3
    node.suspend()
    try:
        # Votes that nobody has read yet, and then votes that find no queue.
        held = len(prepared(orm, batch))
        orm.wait_until(lambda: len(prepared(orm, batch)) >= min(held + 4, 16), 20, what="votes in the queue")
        for name in [queue, *mailboxes]:
            orm.rabbitmq.delete(name)
    finally:
        node.resume()
    began = time.monotonic()
    assert ended(orm, batch) == "COMMITTED"
    print(f"ended {time.monotonic() - began:.1f} s after its queue was deleted; attempts {attempts(orm, batch)}")
    assert time.monotonic() - began < 30, "its deadline is a quarter of an hour away"
    assert (rows(orm, batch), doubled(orm, batch)) == (200, [])
    orm.wait_until(
        lambda: all((found := orm.rabbitmq.queues().get(name)) and found.consumers for name in mailboxes),
        15,
        what="every mailbox read again",
    )
    nothing_left(orm, batch)


class Mailbox:
    """A worker process, as far as votes and orders go: what it casts, and what it is answered."""

    def __init__(self, site: Site, process: str) -> None:
        self.process = process
        self._names = Topology(site.installation)
        self._connection = site.rabbitmq.connect()
        self._channel = self._connection.channel()
        self._queue = self._names.mailbox(process)
        self._channel.queue_declare(self._queue, durable=True, auto_delete=False, arguments=MAILBOX_ARGUMENTS)
        self._channel.queue_bind(self._queue, self._names.decisions, process)

    def delete_queue_of(self, batch: str) -> None:
        """Delete the queue of the batch's votes. Its node needs a moment to make it again."""
        self._channel.queue_delete(self._names.batch_queue(UUID(batch)))

    def answers(self, site: Site, batch: str, *given: str) -> dict[str, Decision]:
        """Cast a vote for each gid, as the sweep does, and wait for the orders that answer them."""
        for gid in given:
            self._vote(UUID(batch), gid)
        found: dict[str, Decision] = {}
        site.wait_until(lambda: found.update(self._orders()) or len(found) == len(given), 20, what="the answers")
        return found

    def _vote(self, batch: UUID, gid: str) -> None:
        parts = gids.parse(gid)
        assert parts is not None
        item = VoteItem(
            vote=Decision.COMMIT, gid=gid, members=(parts.branch,), round=parts.round, alias="demo_crm",
            kind=Kind.TWO_PHASE,
        )  # fmt: skip
        message = amqp.Message(encode(Votes(batch=batch, process=self.process, items=(item,))), delivery_mode=2)
        self._channel.basic_publish(message, self._names.votes, vote_key(batch, parts.branch))

    def _orders(self) -> dict[str, Decision]:
        found: dict[str, Decision] = {}
        while message := self._channel.basic_get(self._queue, no_ack=True):
            heard = decode(message.body if isinstance(message.body, bytes) else message.body.encode())
            if isinstance(heard, Order):
                found.update({item.gid: item.outcome for item in heard.items})
        return found

    def close(self) -> None:
        """Leave nothing behind."""
        self._channel.queue_delete(self._queue)
        self._connection.close()


@pytest.fixture
def mailbox(site: Site) -> Iterator[Mailbox]:
    mailbox = Mailbox(site, "a-test")
    yield mailbox
    mailbox.close()


def test_a_vote_repeated_while_its_batch_is_committing(node: Process, orm: Site, mailbox: Mailbox) -> None:
    """Row 31. It finds no queue, and is answered for its gid all the same: while the batch commits, and afterwards."""
    batch = some("acme", 5, seconds=1)
    sql = "SELECT state FROM coordination_branch WHERE batch_id = %s AND number = 3"
    orm.wait_until(lambda: orm.value("default", sql, [batch]) == "PREPARED", 30, what="task 3 prepared")
    good = orm.value("default", sql.replace("state", "gid"), [batch])
    other = good[:-16] + "0" * 16
    wanted = {good: Decision.COMMIT, other: Decision.ROLLBACK}
    orm.postgres2.suspend()  # where task 3 is, and none of those that still run
    try:
        orm.wait_until(lambda: field(orm, batch, "state") == "COMMITTING", 30, every=0.02, what="the decision")
        mailbox.delete_queue_of(batch)
        assert mailbox.answers(orm, batch, good, other) == wanted
        assert field(orm, batch, "state") == "COMMITTING"
    finally:
        orm.postgres2.resume()
    assert ended(orm, batch) == "COMMITTED"
    nothing_left(orm, batch)
    assert mailbox.answers(orm, batch, good, other) == wanted
    assert rows(orm, batch) == 50
