"""One agent a worker process: made in the process that uses it, stopped with it.

A prefork worker forks children that run the tasks: each child has its agent, their parent none, because threads and
connections do not survive a fork. Other pools run their tasks in the worker's one process.
"""

import logging
import os
import secrets
import socket
import threading
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown, worker_ready, worker_shutdown

from coordination import conf
from coordination.bus.choose import agent_bus
from coordination.resources import registry

from . import unknown
from .agent import Agent

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_agents: dict[int, Agent] = {}
"""By process id: a forked child must not take its parent's for its own."""


def connect_signals() -> None:
    """Have agents start and stop with the worker processes of this program."""
    worker_process_init.connect(_child_began, weak=False)
    worker_process_shutdown.connect(_process_ends, weak=False)
    worker_ready.connect(_worker_began, weak=False)
    worker_shutdown.connect(_process_ends, weak=False)
    unknown.connect_signals()


def current_agent() -> Agent:
    """This process's agent, started if it was not yet.

    Raises ImproperlyConfigured without an installation id, BadBrokerUrl for a broker it cannot speak to.
    """
    agent = _agents.get(os.getpid())
    if agent is None:
        with _lock:
            agent = _agents.get(os.getpid())
            if agent is None:
                agent = _agents[os.getpid()] = _new()
                agent.start()
    return agent


def agent_here() -> Agent | None:
    """This process's agent, if it has one."""
    return _agents.get(os.getpid())


def stop_agent() -> None:
    """Stop this process's agent, if it has one."""
    with _lock:
        agent = _agents.pop(os.getpid(), None)
    if agent is not None:
        agent.stop()


def _new() -> Agent:
    process = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"
    aliases = registry.served()
    return Agent(agent_bus(conf.broker_url(), conf.installation(), process, aliases), process, aliases)


def _child_began(**kwargs: Any) -> None:
    # The parent may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()
    _start()


def _worker_began(sender: Any = None, **kwargs: Any) -> None:
    if "prefork" not in type(sender.pool).__module__:
        _start()


def _start() -> None:
    if not conf.agent_enabled() or not registry.served():
        return
    try:
        current_agent()
    except Exception:
        # The worker has other tasks too; a branch that arrives tries again, and its failure is then its own.
        logger.exception("The agent of this worker process did not start: it cannot run tasks of batches.")


def _process_ends(**kwargs: Any) -> None:
    try:
        stop_agent()
    except Exception:
        logger.exception("The agent did not stop cleanly; what it leaves is found by the others.")
