"""The drill's way to the broker: it passes on, is cut at both ends, refuses, and is mended."""

import socket
import threading
from collections.abc import Iterator

import pytest

from coordination.drill.link import Link


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says back what it hears; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while heard := connection.recv(1000):
                connection.sendall(heard)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def _connect(link: Link) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", link.port), 5)
    connection.settimeout(5)
    return connection


def _ended(connection: socket.socket) -> bool:
    """Whether the other end is closed, by an end or a reset."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_it_is_cut_and_mended(echo: int) -> None:
    with Link("127.0.0.1", echo) as link:
        with _connect(link) as first:
            first.sendall(b"hello")
            assert first.recv(100) == b"hello"
            link.cut()
            assert _ended(first)
        with _connect(link) as refused:
            assert _ended(refused)
        link.mend()
        with _connect(link) as again:
            again.sendall(b"again")
            assert again.recv(100) == b"again"
    with pytest.raises(OSError):
        _connect(link)


def test_a_broker_that_is_away_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with Link("127.0.0.1", port) as link, _connect(link) as connection:
        assert _ended(connection)
