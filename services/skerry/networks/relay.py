"""TCP to published ports over IPv6: containers have IPv4 only, so the service itself carries these connections.

IPv4 never passes through here (the kernel translates it, at full speed and with the client's address). Relayed connections end with the
service; new ones work again once it is back.
"""

import asyncio
import logging
import socket

from skerry.core.lifecycle import Tasks

_log = logging.getLogger(__name__)
_LIMIT = 1000
_CHUNK = 1 << 16


class Relay:
    """Accepts on reserved sockets and carries bytes both ways."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._open = 0
        self._serving: set[socket.socket] = set()

    def serve(self, listener: socket.socket, address: str, port: int) -> None:
        """Begins to accept. Raises OSError."""
        listener.setblocking(False)
        listener.listen(128)
        self._serving.add(listener)
        self._resume(listener, address, port)

    def stop(self, listener: socket.socket) -> None:
        """Accepts no more; connections under way go on."""
        self._serving.discard(listener)
        asyncio.get_running_loop().remove_reader(listener)

    def _resume(self, listener: socket.socket, address: str, port: int) -> None:
        if listener in self._serving:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener, address, port)

    def _accept(self, listener: socket.socket, address: str, port: int) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it went away again
        except OSError as error:
            _log.warning("cannot accept", extra={"error": str(error)})
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(1, self._resume, listener, address, port)
            return
        if self._open >= _LIMIT:
            client.close()
            return
        client.setblocking(False)
        self._open += 1
        _ = self._tasks.spawn(self._carry(client, address, port), f"relay to {address}:{port}")

    async def _carry(self, client: socket.socket, address: str, port: int) -> None:
        writers: list[asyncio.StreamWriter] = []
        try:
            reader, writer = await asyncio.open_connection(sock=client)
            writers.append(writer)
            async with asyncio.timeout(10):
                inner_reader, inner_writer = await asyncio.open_connection(address, port)
            writers.append(inner_writer)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        except (OSError, TimeoutError):
            pass  # refused or reset: the client sees its connection end
        finally:
            self._open -= 1
            client.close()
            for open_writer in writers:
                open_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
