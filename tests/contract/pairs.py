"""The pairs of adapters that one contract suite holds to what `coordination/bus/port.py` says."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID, uuid4

from coordination.bus import local
from coordination.bus.choose import agent_bus, node_bus
from coordination.bus.port import AgentBus, NodeBus
from coordination.bus.topology import Topology
from tests.services import RabbitMQ

INSTALLATION = "1234abcd"


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

    def of_another_installation(self) -> "Pair":
        """The same broker as another installation gets it."""


class RabbitMQPair:
    """aio-pika and py-amqp over a real RabbitMQ."""

    def __init__(self, server: RabbitMQ, url: str = "", installation: str = INSTALLATION) -> None:
        self.server = server
        self.url = url or server.url
        self.installation = installation
        self.names = Topology(installation)

    def node(self) -> NodeBus:
        return node_bus(self.url, self.installation)

    def agent(self, process: str, aliases: Sequence[str] = ()) -> AgentBus:
        return agent_bus(self.url, self.installation, process, aliases)

    def of_another_installation(self) -> "RabbitMQPair":
        return RabbitMQPair(self.server, self.url, "0000beef")

    def delete_batch_queue(self, batch: UUID) -> None:
        self.server.delete(self.names.batch_queue(batch))

    def batch_queue_exists(self, batch: UUID) -> bool:
        return self.names.batch_queue(batch) in self.server.queues()


class LocalPair:
    """Both sides in this process, on an exchange of their own."""

    def __init__(self, url: str = "", installation: str = INSTALLATION) -> None:
        self.url = url or f"memory://{uuid4().hex}"
        self.installation = installation
        self._exchange = local.exchange(self.url, installation)

    def node(self) -> NodeBus:
        return node_bus(self.url, self.installation)

    def agent(self, process: str, aliases: Sequence[str] = ()) -> AgentBus:
        return agent_bus(self.url, self.installation, process, aliases)

    def of_another_installation(self) -> "LocalPair":
        return LocalPair(self.url, "0000beef")

    def delete_batch_queue(self, batch: UUID) -> None:
        self._exchange.delete(local.batch_queue(batch))

    def batch_queue_exists(self, batch: UUID) -> bool:
        return self._exchange.exists(local.batch_queue(batch))
