"""Private servers and processes for the tests, started from installed programs and gone when the test run is.

    RabbitMQ, PostgreSQL, Redis    each with start(), stop(), kill(), restart(), url
    Process                        a program of ours under test, with its log
    Site                           the whole site on such servers: its environment, commands, nodes, workers and web

The servers listen on the loopback interface only and keep their data in a temporary folder.

Ports are chosen when an object is made and kept over restarts, so its `url` can be handed out before it runs.
Nothing outlives the test run, whatever ends it: see `reaper.py`.
"""

from tests.services.machine import MissingProgram, Scratch, free_port, wait_until
from tests.services.postgresql import PostgreSQL
from tests.services.process import Process, ProcessFailed
from tests.services.rabbitmq import RabbitMQ
from tests.services.redis import Redis
from tests.services.site import Site

__all__ = [
    "MissingProgram",
    "PostgreSQL",
    "Process",
    "ProcessFailed",
    "RabbitMQ",
    "Redis",
    "Scratch",
    "Site",
    "free_port",
    "wait_until",
]
