"""A TCP proxy before a database that lets a request through and cuts the connection before its answer."""

import contextlib
import socket
import threading


class CuttingProxy:
    """Forwards to ``port`` until a request contains ``after``: that is still delivered, its answer is not.

    At most ``most`` times, then it forwards all.
    """

    def __init__(self, port: int, after: bytes, most: int = 1_000_000) -> None:
        self._target, self._after, self._most = port, after, most
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                cut = threading.Event()
                for source, sink, asking in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(source, sink, asking, cut), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, asking: bool, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if asking and self._after in data and self.cuts < self._most:
                    cut.set()
                    self.cuts += 1
                    sink.sendall(data)
                    continue
                if not asking and cut.is_set():  # The server has answered, so it has done it.
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
