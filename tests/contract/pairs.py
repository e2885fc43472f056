"""The pairs of adapters that one contract suite holds to what `coordination/bus/port.py` says."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID, uuid4

from coordination.bus import local, topology
from coordination.bus.choose import agent_bus, node_bus
from coordination.bus.port import AgentBus, NodeBus
from tests.services import RabbitMQ


class Pair(Protocol):
    """A bus as its two kinds of users get it, and what an administrator can do to it."""

    def node(self) -> NodeBus:
        """A node's bus, not yet connected."""

    def agent(self, process: str, aliases: Sequence[str] = ()) -> AgentBus:
        """A worker process's bus, not yet started."""

    def delete_batch_queue(self, batch: UUID) -> None:
        """Delete a batch's queue, whoever reads it and whatever is in it."""

    def batch_queue_exists(self, batch: UUID) -> bool:
        """Whether there is a queue for this batch."""


class RabbitMQPair:
    """aio-pika and py-amqp over a real RabbitMQ."""

    def __init__(self, server: RabbitMQ, url: str = "") -> None:
        self.server = server
        self.url = url or server.url

    def node(self) -> NodeBus:
        return node_bus(self.url)

    def agent(self, process: str, aliases: Sequence[str] = ()) -> AgentBus:
        return agent_bus(self.url, process, aliases)

    def delete_batch_queue(self, batch: UUID) -> None:
        self.server.delete(topology.batch_queue(batch))

    def batch_queue_exists(self, batch: UUID) -> bool:
        return topology.batch_queue(batch) in self.server.queues()


class LocalPair:
    """Both sides in this process, on an exchange of their own."""

    def __init__(self) -> None:
        self.url = f"memory://{uuid4().hex}"

    def node(self) -> NodeBus:
        return node_bus(self.url)

    def agent(self, process: str, aliases: Sequence[str] = ()) -> AgentBus:
        return agent_bus(self.url, process, aliases)

    def delete_batch_queue(self, batch: UUID) -> None:
        local.exchange(self.url).delete(local.batch_queue(batch))

    def batch_queue_exists(self, batch: UUID) -> bool:
        return local.exchange(self.url).exists(local.batch_queue(batch))
