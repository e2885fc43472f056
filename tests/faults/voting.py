"""Saying what agents and sweeps say, at moments of a test's choice."""

import amqp

from coordination.bus.topology import Topology, vote_key
from coordination.protocol.encoding import encode
from coordination.protocol.gid import parse
from coordination.protocol.messages import VoteItem, Votes
from coordination.protocol.states import Decision, Kind
from tests.integration.batches import ALIASES
from tests.services import Site


def vote_again(site: Site, gids: set[str], process: str = "nobody") -> None:
    """Vote for prepared transactions of plan demo, as the sweep does for those that nobody speaks for."""
    names = Topology(site.installation)
    with site.rabbitmq.connect() as connection:
        channel = connection.channel()
        for gid in gids:
            parts = parse(gid)
            assert parts is not None
            alias = ALIASES[(parts.branch - 1) % 3]
            item = VoteItem(
                vote=Decision.COMMIT, gid=gid, members=(parts.branch,), round=0, alias=alias, kind=Kind.TWO_PHASE
            )
            body = encode(Votes(batch=parts.batch, process=process, items=(item,)))
            channel.basic_publish(amqp.Message(body, delivery_mode=2), names.votes, vote_key(parts.batch, parts.branch))


def delete_queue(site: Site, batch: str) -> None:
    """Delete the queue of the batch's votes, with what is in it."""
    with site.rabbitmq.connect() as connection:
        connection.channel().queue_delete(f"coordination.{site.installation}.batch.{batch.replace('-', '')}")


def bind_mailbox(site: Site, process: str, *, bound: bool = True) -> None:
    """Let what is said to a worker process come to its mailbox (again), or, not ``bound``, let it be lost."""
    names = Topology(site.installation)
    with site.rabbitmq.connect() as connection:
        channel = connection.channel()
        change = channel.queue_bind if bound else channel.queue_unbind
        change(names.mailbox(process), names.decisions, process)
