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
    _widen(writer)
    return reader, writer


def named(path: str) -> tuple[int, int]:
    """Makes a FIFO, which others of this machine may write too; returns both ends as `pipe` does. Raises OSError."""
    os.mkfifo(path, 0o600)
    # Not blocking, as otherwise each end waits for the other to be opened.
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        os.close(reader)
        raise
    os.set_blocking(reader, True)
    os.set_blocking(writer, True)
    _widen(writer)
    return reader, writer


def _widen(fd: int) -> None:
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, _SIZE)
    except OSError:
        pass  # the user's share of pipe memory is taken: it works with the usual size


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
