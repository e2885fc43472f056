"""The way from the drill's processes to the broker: a TCP relay that can be cut."""

import contextlib
import socket
import threading
from typing import Self

PIECE = 65536
CONNECT_SECONDS = 5.0


class Link:
    """Listens on 127.0.0.1:``port`` and passes all on to ``host``:``to``, until it is cut. A thread a direction."""

    def __init__(self, host: str, to: int) -> None:
        self._target = host, to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._is_cut = False
        threading.Thread(target=self._accept, name="drill-link", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cut()
        _close(self._listening)

    def cut(self) -> None:
        """Close every connection, and refuse new ones until :meth:`mend`."""
        with self._lock:
            self._is_cut = True
            ends, self._ends = self._ends, set()
        for end in ends:
            _close(end)

    def mend(self) -> None:
        """Take connections again."""
        self._is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return  # Closed: the drill is over.
            if self._is_cut:
                _close(client)
                continue
            try:
                server = socket.create_connection(self._target, CONNECT_SECONDS)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._ends |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), name="drill-link", daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                sink.sendall(data)
        for end in (source, sink):
            _close(end)
        with self._lock:
            self._ends -= {source, sink}


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # Or a thread that waits for it would not wake up.
    end.close()
