"""A private Redis server, with no data on disk."""

from redis import Redis as Client

from tests.services.machine import Scratch, find_program, free_port, is_listening, wait_until
from tests.services.process import Process, ProcessFailed


class Redis:
    """One Redis on 127.0.0.1. What it holds is gone after a restart, as the product must be able to bear."""

    def __init__(self, name: str = "redis", *, scratch: Scratch) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: Process | None = None
        self._scratch = scratch
        self._home = scratch.folder / name

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start it and wait until it answers."""
        if self.running:
            return
        program = find_program("redis-server", "/usr/bin", package="redis-server")
        self._home.mkdir(exist_ok=True)
        self.process = Process(
            self.name,
            [
                program,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._home), "--save", ""),
                *("--appendonly", "no", "--daemonize", "no"),
            ],
            scratch=self._scratch,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            cwd=self._home,
            log_path=self._home / "server.log",
        )
        wait_until(self._answers, 20, every=0.02, what="Redis")

    def stop(self) -> None:
        """Stop it in good order."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def restart(self) -> None:
        """Stop it and start it again, empty."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        assert self.process is not None
        if not self.process.alive:
            raise ProcessFailed(f"Redis did not start:\n{self.process.tail()}")
        if not is_listening(self.port):
            return False
        with Client(port=self.port, socket_timeout=5) as client:
            return bool(client.ping())
