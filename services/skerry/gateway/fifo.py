"""A FIFO that a service of this machine writes, sent on to a client without passing through this process's memory."""

import array
import asyncio
import fcntl
import os
import termios
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from skerry.gateway.sending import descriptor

_PIECE = 1 << 20
_FLUSH_SECONDS = 60.0


async def send(path: str, begin: Callable[[], Awaitable[web.StreamResponse]], transport: asyncio.Transport) -> web.StreamResponse | None:
    """Sends what comes through the FIFO at path, until its writer closes it, as the body of the chunked answer that begin makes.

    begin is called with the first bytes; None: there were none. The answer's end is the caller's. Raises OSError when the FIFO is not
    there, ConnectionError when the client is gone.
    """
    with _opened(path) as fifo:
        # Before a writer has come, reading would look like the end: only what epoll tells counts.
        await _ready(fifo, writing=False)
        first = os.read(fifo, _PIECE)
        if not first:
            return None
        response = await begin()
        # By the usual way, so that the head is out before anything else.
        await response.write(first)
        async with asyncio.timeout(_FLUSH_SECONDS):
            while transport.get_write_buffer_size():
                await asyncio.sleep(0.001)
        with descriptor(transport) as connection:
            await _relay(fifo, connection)
        return response


async def _relay(fifo: int, connection: int) -> None:
    before = b""
    while True:
        await _ready(fifo, writing=False)
        count = min(_available(fifo), _PIECE)
        if not count:
            break  # readable without bytes: the writer is gone
        await _write(connection, b"%s%x\r\n" % (before, count))
        before = b"\r\n"
        while count:
            try:
                count -= os.splice(fifo, connection, count)
            except BlockingIOError:
                await _ready(connection, writing=True)
    await _write(connection, before)


async def _write(connection: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(connection, data) :]
        except BlockingIOError:
            await _ready(connection, writing=True)


async def _ready(fd: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(fd, event.set)
    try:
        await event.wait()
    finally:
        remove(fd)


def _available(fifo: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fifo, termios.FIONREAD, count)
    return count[0]


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)
