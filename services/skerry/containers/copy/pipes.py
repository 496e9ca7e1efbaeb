"""Pipes to another process, read and written by the event loop in large pieces."""

import asyncio
import fcntl
import os
from collections.abc import Callable

# What an unprivileged user may have; small pipes make one system call of every 64 KiB.
_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


def pipe() -> tuple[int, int]:
    """Returns the reading and the writing end of a large pipe, both blocking."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, _F_SETPIPE_SZ, _SIZE)
    except OSError:
        pass  # the user's share of pipe memory is taken: it works with the usual size
    return reader, writer


async def read(fd: int, size: int) -> bytes:
    """Reads what is there from a non-blocking pipe, at most size bytes; b"" at its end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            await _ready(lambda wake: loop.add_reader(fd, wake), lambda: loop.remove_reader(fd))


async def write(fd: int, data: bytes) -> None:
    """Writes all data to a non-blocking pipe. Raises BrokenPipeError."""
    loop = asyncio.get_running_loop()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(lambda wake: loop.add_writer(fd, wake), lambda: loop.remove_writer(fd))


async def _ready(watch: Callable[[Callable[[], None]], object], forget: Callable[[], object]) -> None:
    ready = asyncio.Event()
    watch(ready.set)
    try:
        await ready.wait()
    finally:
        forget()
