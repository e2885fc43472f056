"""A TCP proxy in front of a server, which can behave as bad networks do."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self

from tests.services.machine import free_port


class Proxy:
    """Listens on 127.0.0.1:`port` and passes all on to 127.0.0.1:`target`, until told otherwise. Runs in a thread."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self._delay = 0.0
        self._to_server = self._to_client = True
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._flow = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", self.port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pass_on(self) -> None:
        """Pass everything on, also what was held back."""
        self._set(to_server=True, to_client=True)

    def black_hole(self) -> None:
        """Take connections and bytes and pass nothing on, in either direction. Nobody is told."""
        self._set(to_server=False, to_client=False)

    def one_way(self) -> None:
        """Pass on what clients say, and hold back what the server says."""
        self._set(to_server=True, to_client=False)

    def delay(self, seconds: float) -> None:
        """Hold every piece of data back for so long, in both directions."""
        self._delay = seconds

    def reset_clients(self) -> None:
        """Reset all clients' connections, and leave the server's ends open: it notices by its heartbeats only."""
        self._run(self._reset())

    def cut(self) -> None:
        """Reset all connections, at both ends."""

        async def abort_all() -> None:
            for pump in list(self._pumps):
                pump.cancel()
            for client, server in self._pairs:
                client.transport.abort()
                server.transport.abort()
            self._pairs.clear()

        self._run(abort_all())

    def stop(self) -> None:
        """Close everything."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(10)

    def _set(self, *, to_server: bool, to_client: bool) -> None:
        async def change() -> None:
            self._to_server, self._to_client = to_server, to_client
            self._flow.set()
            self._flow = asyncio.Event()

        self._run(change())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._pairs.add((writer, up_writer))
        for call in (self._pump(reader, up_writer, True), self._pump(up_reader, writer, False)):
            task = asyncio.create_task(call)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_server: bool) -> None:
        try:
            while data := await reader.read(65536):
                if self._delay:
                    await asyncio.sleep(self._delay)
                while not (self._to_server if to_server else self._to_client):
                    await self._flow.wait()
                writer.write(data)
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()

    async def _reset(self) -> None:
        for client, _ in self._pairs:
            sock = client.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        pumps = list(self._pumps)
        for pump in pumps:  # or the end of a client's data would be passed on to the server
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for client, _ in self._pairs:
            client.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        for pump in list(self._pumps):
            pump.cancel()
        for client, server in self._pairs:
            client.transport.abort()
            server.transport.abort()
        await asyncio.sleep(0.05)
