"""The adapters for a broker's URL. What two installations say over one broker does not mix."""

from collections.abc import Sequence

from . import address
from .port import AgentBus, NodeBus, TaskPublisher


def node_bus(url: str, installation: str) -> NodeBus:
    """A node's bus, not yet connected. Raises BadBrokerUrl."""
    if address.is_local(url):
        from .local_node import LocalNodeBus

        return LocalNodeBus(url, installation=installation)
    address.read(url)
    from .node_amqp import AmqpNodeBus  # not imported in worker processes, which have no use for aio-pika

    return AmqpNodeBus(url, installation=installation)


def agent_bus(url: str, installation: str, process: str, aliases: Sequence[str]) -> AgentBus:
    """A worker process's bus, not yet started. Raises BadBrokerUrl."""
    if address.is_local(url):
        from .local_agent import LocalAgentBus

        return LocalAgentBus(url, installation=installation, process=process, aliases=aliases)
    address.read(url)
    from .agent_amqp import AmqpAgentBus

    return AmqpAgentBus(url, installation=installation, process=process, aliases=aliases)


def task_publisher(url: str) -> TaskPublisher:
    """What publishes to Celery's broker, not yet connected. Raises BadBrokerUrl."""
    if address.is_local(url):
        from .local_dispatch import LocalTaskPublisher

        return LocalTaskPublisher(url)
    address.read(url)
    from .dispatch_amqp import AmqpTaskPublisher

    return AmqpTaskPublisher(url)
