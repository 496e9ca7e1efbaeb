"""Bodies that go past the event loop's buffers: files to a client by sendfile(2), and uploads into another service's named pipe."""

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from skerry.core.errors import Failed

# What a thread sends in one go, and how long it waits for a client that does not read: then others get the thread.
_TURN = 64 << 20
_PIECE = 8 << 20
_PATIENCE_MS = 20
# What may lie in the connection unread. The kernel's 208 KiB let the client, which reads 32 KiB at a time, wait for us again and again.
_BUFFER = 4 << 20


class Sender:
    """Writes to a client's connection. Raises ConnectionError when the client has gone."""

    def __init__(self, out: int) -> None:
        self._out = out

    async def data(self, data: bytes) -> None:
        """Sends bytes."""
        view = memoryview(data)
        await self._send(len(view), lambda offset, end: os.write(self._out, view[offset:end]))

    async def file(self, source: int, size: int) -> None:
        """Sends the first size bytes of an open file. Raises Failed when it has fewer."""
        await self._send(size, lambda offset, end: os.sendfile(self._out, source, offset, end - offset))

    async def _send(self, size: int, step: Callable[[int, int], int]) -> None:
        offset = 0
        while offset < size:
            turn = asyncio.get_running_loop().run_in_executor(None, self._turn, step, offset, size)
            try:
                sent = await asyncio.shield(turn)
            finally:
                # The thread uses descriptors that the caller closes next.
                await asyncio.wait({turn})
                if not turn.cancelled():
                    turn.exception()  # seen: a cancelled caller does not ask
            if not sent:
                await _writable(self._out)
            offset += sent

    def _turn(self, step: Callable[[int, int], int], start: int, size: int) -> int:
        """Sends what the client takes at once; returns how much that was."""
        offset, limit = start, min(size, start + _TURN)
        poll = select.poll()
        poll.register(self._out, select.POLLOUT)
        while offset < limit:
            try:
                sent = step(offset, min(limit, offset + _PIECE))
            except BlockingIOError:
                if not poll.poll(_PATIENCE_MS):
                    break
                continue
            if not sent:
                raise Failed("a stored file is shorter than its image says")
            offset += sent
        return offset - start


@asynccontextmanager
async def sending(request: web.BaseRequest) -> AsyncIterator[Sender]:
    """Takes the connection over for the body of a response whose head, with its Content-Length, has been sent."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("client has gone")
    while transport.get_write_buffer_size():  # the head: a few hundred bytes on a connection that was waited on
        await asyncio.sleep(0.001)
    with descriptor(transport) as out:
        yield Sender(out)


@contextmanager
def descriptor(transport: asyncio.BaseTransport) -> Iterator[int]:
    """Yields a descriptor of a connection, made fit for much data: one of our own, as the transport may close its own at any time."""
    out = os.dup(transport.get_extra_info("socket").fileno())
    try:
        with socket.socket(fileno=os.dup(out)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)  # capped by the host's net.core.wmem_max
        yield out
    finally:
        os.close(out)


async def pour(pieces: AsyncIterator[bytes], pipe: int) -> int:
    """Writes pieces into a non-blocking pipe, whose reader's pace is theirs; returns how many bytes. Raises BrokenPipeError."""
    count = 0
    async for piece in pieces:
        count += len(piece)
        view = memoryview(piece)
        while view:
            try:
                view = view[os.write(pipe, view) :]
            except BlockingIOError:
                await _writable(pipe)
    return count


async def _writable(out: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(out, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(out)


def boot_id() -> str:
    """Returns what tells this machine's run from all others: files and pipes are shared with whoever has the same."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # not a disk
        return file.read().strip()
