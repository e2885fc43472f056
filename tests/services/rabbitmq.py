"""A private RabbitMQ node, from Debian's programs, with a cookie, an epmd and folders of its own."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import amqp

from tests.services.machine import Scratch, find_program, free_port, is_listening, wait_until
from tests.services.process import Process, ProcessFailed, run

PACKAGE = "rabbitmq-server"
FOLDER = "/usr/lib/rabbitmq/bin"  # Debian's programs on PATH insist on running as the account rabbitmq; these do not
PLUGINS = "lib/rabbitmq_server-*/plugins"  # beside that folder


@dataclass(frozen=True)
class Queue:
    """What the broker says of one queue. `messages` counts ready and unacknowledged ones."""

    name: str
    messages: int
    unacked: int
    consumers: int


class RabbitMQ:
    """One node on 127.0.0.1, user and password guest, virtual host `/`."""

    def __init__(self, name: str = "rabbitmq", *, scratch: Scratch, config: str = "") -> None:
        """`config` is added to the node's rabbitmq.conf."""
        self.name = name
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.node = f"{name}-{self.port}@localhost"
        self.process: Process | None = None
        self._epmd: Process | None = None
        self._epmd_port, self._distribution_port = free_port(), free_port()
        self._cookie = secrets.token_hex(16)
        self._config = config
        self._scratch = scratch
        self._home = scratch.folder / name

    @property
    def running(self) -> bool:
        """Whether the node's process runs."""
        return self.process is not None and self.process.alive

    def start(self, timeout: float = 90) -> None:
        """Start it and wait until it takes connections."""
        if self.running:
            return
        self._make()
        env = self._environment()
        if self._epmd is None or not self._epmd.alive:
            # In the foreground, so that it is ours to end: the node's own would become a daemon.
            self._epmd = Process(
                f"{self.name}-epmd",
                [
                    find_program("epmd", "/usr/bin", package=PACKAGE),
                    *("-port", str(self._epmd_port), "-address", "127.0.0.1"),
                ],
                scratch=self._scratch,
                env=env,
                cwd=self._home,
                log_path=self._home / "epmd.log",
            )
            wait_until(lambda: is_listening(self._epmd_port), 20, every=0.02, what="epmd")
        self.process = Process(
            self.name,
            [find_program("rabbitmq-server", FOLDER, package=PACKAGE)],
            scratch=self._scratch,
            env=env,
            cwd=self._home,
            log_path=self._home / "server.log",
        )
        wait_until(self._answers, timeout, every=0.1, what=lambda: f"RabbitMQ; its log ends:\n{self._tail()}")

    def stop(self, timeout: float = 30) -> None:
        """Stop it in good order."""
        if self.process is not None:
            self.process.stop(timeout)
            self.process = None
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd = None

    def kill(self) -> None:
        """Kill the node (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process = None
        # epmd forgets the node when its connection closes; a restart within that instant would find the name taken.
        wait_until(lambda: not is_listening(self.port), 10, every=0.02, what="the dead node's port")

    def restart(self) -> None:
        """Stop it and start it again: what was durable is there."""
        self.stop()
        self.start()

    def suspend(self) -> None:
        """Stop it where it stands (SIGSTOP): connections stay, nothing answers."""
        assert self.process is not None
        self.process.suspend()

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        assert self.process is not None
        self.process.resume()

    def wipe(self) -> None:
        """Forget everything: queues, exchanges, messages. Connections are closed."""
        self.ctl("stop_app")
        self.ctl("reset")
        self.ctl("start_app")
        wait_until(self._answers, 60, what="RabbitMQ")

    def queues(self) -> dict[str, Queue]:
        """All queues, by name."""
        rows = self._list("list_queues", "name", "messages", "messages_unacknowledged", "consumers")
        return {row["name"]: Queue(*row.values()) for row in rows}

    def exchanges(self) -> list[str]:
        """Names of all exchanges but the broker's own."""
        names = [row["name"] for row in self._list("list_exchanges", "name")]
        return sorted(name for name in names if name and not name.startswith("amq."))

    def connections(self) -> list[dict[str, Any]]:
        """All client connections: `pid`, `name` (addresses), `channels`, `state`, `client_properties`."""
        return self._list("list_connections", "pid", "name", "channels", "state", "client_properties")

    def ctl(self, *arguments: str, timeout: float = 60) -> str:
        """Run rabbitmqctl (0.4 s on an idle machine) and return what it prints."""
        done = run(
            [find_program("rabbitmqctl", FOLDER, package=PACKAGE), "-q", "-n", self.node, *arguments],
            scratch=self._scratch,
            timeout=timeout,
            env=self._environment(),
            cwd=self._home,
        )
        if done.returncode:
            raise ProcessFailed(f"rabbitmqctl {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def connect(self) -> amqp.Connection:
        """A new connection, for a test that wants to look or meddle. A publish waits for the broker's confirm."""
        connection = amqp.Connection(
            f"127.0.0.1:{self.port}",
            "guest",
            "guest",
            confirm_publish=True,
            connect_timeout=5,
            read_timeout=10,
            write_timeout=10,
        )
        connection.connect()
        return connection

    def delete(self, queue: str) -> None:
        """Delete a queue and what is in it."""
        with self.connect() as connection:
            connection.channel().queue_delete(queue)

    def purge(self, queue: str) -> int:
        """Empty a queue of what is not being delivered; returns how many messages that were."""
        with self.connect() as connection:
            return int(connection.channel().queue_purge(queue))

    def _list(self, command: str, *columns: str) -> list[dict[str, Any]]:
        """What rabbitmqctl lists, one dictionary a line, its keys in the order of `columns`."""
        rows = json.loads(self.ctl(command, *columns, "--formatter", "json") or "[]")
        return [{column: row[column] for column in columns} for row in rows]

    def _answers(self) -> bool:
        assert self.process is not None
        if not self.process.alive:
            raise ProcessFailed(f"RabbitMQ did not start:\n{self._tail()}")
        if not is_listening(self.port):
            return False
        try:
            self.connect().close()
        except (OSError, amqp.AMQPError):
            return False
        return True

    def _tail(self) -> str:
        return self.process.tail() if self.process is not None else ""

    def _make(self) -> None:
        """Folders and files of the node."""
        if self._home.exists():
            return
        self._home.mkdir()
        cookie = self._home / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        (self._home / "enabled_plugins").write_text("[].\n")
        # The node reads what each plugin that it finds could be set to, enabled or not: a quarter of its start. Most of
        # what lies beside them is the node itself.
        (self._home / "plugins").mkdir()
        for part in Path(FOLDER).parent.glob(f"{PLUGINS}/*"):
            if part.name.startswith("rabbitmq_prelaunch") or not part.name.startswith("rabbitmq_"):
                (self._home / "plugins" / part.name).symlink_to(part)
        (self._home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "log.console = true\nlog.console.level = info\nlog.file = false\n"
            "disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 1GB\n" + self._config
        )

    def _environment(self) -> dict[str, str]:
        home = self._home
        return {
            "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            **({"RABBITMQ_PLUGINS_DIR": str(plugins)} if any((plugins := home / "plugins").iterdir()) else {}),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            # Makes its start script become the node instead of waiting for it, so that signals reach the node.
            "RUNNING_UNDER_SYSTEMD": "1",
            "RABBITMQ_CTL_ERL_ARGS": "-start_epmd false",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
        }
