"""Reading a FIFO that a service of this machine writes."""

import asyncio
import os
from collections.abc import AsyncIterator

_PIECE = 1 << 20


async def pieces(path: str) -> AsyncIterator[bytes]:
    """Yields what comes through the FIFO at path until its writer closes it, at most 1 MiB at once. Raises OSError when it is not there."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        # Before a writer has come, reading would look like the end: only what epoll tells counts.
        await ready.wait()
        while True:
            try:
                data = os.read(fd, _PIECE)
            except BlockingIOError:
                ready.clear()
                await ready.wait()
                continue
            if not data:
                return
            yield data
    finally:
        loop.remove_reader(fd)
        os.close(fd)
