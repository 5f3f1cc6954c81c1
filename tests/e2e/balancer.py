"""A TCP balancer: connections go to the first server, in turns, that accepts them.

What stands before a cluster in practice. It looks at no byte and tries nothing again: a connection
whose server dies is reset, and its user has to cope.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)


class Balancer:
    """Runs in a thread of its own."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.turn = itertools.count()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.server: asyncio.Server | None = None
        self.url = ""

    def start(self) -> None:
        """Begins to listen; `url` is where."""
        self.thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.server = asyncio.run_coroutine_threadsafe(listening, self.loop).result(10)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Closes the listener and every connection."""
        if not self.thread.is_alive():
            return

        async def close() -> None:
            if self.server is not None:
                self.server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = next(self.turn)
        for offset in range(len(self.ports)):
            port = self.ports[(first + offset) % len(self.ports)]
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
        raise ConnectionRefusedError("no server accepts")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await self._connect()
        except OSError:
            _reset(writer)
            return
        try:
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        # Cancelled when the balancer stops: who awaits a connection's task would raise it again.
        except (OSError, asyncio.CancelledError):
            _reset(writer)
        finally:
            for one in (writer, back):
                one.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    # It may have been closed under us already.
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.close()
