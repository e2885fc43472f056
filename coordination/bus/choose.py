"""The adapter for a broker's URL."""

from collections.abc import Sequence

from . import address
from .port import AgentBus, NodeBus


def node_bus(url: str) -> NodeBus:
    """A node's bus, not yet connected. Raises BadBrokerUrl."""
    address.read(url)
    from .node_amqp import AmqpNodeBus  # not imported in worker processes, which have no use for aio-pika

    return AmqpNodeBus(url)


def agent_bus(url: str, process: str, aliases: Sequence[str]) -> AgentBus:
    """A worker process's bus, not yet started. Raises BadBrokerUrl."""
    address.read(url)
    from .agent_amqp import AmqpAgentBus

    return AmqpAgentBus(url, process=process, aliases=aliases)
