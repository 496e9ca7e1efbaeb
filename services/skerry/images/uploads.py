"""What a client sends, readable by a thread: chunks of a call, or the bytes of a named pipe when client and store share a machine.

A pipe's bytes pass neither through gRPC nor through the event loop. That it was closed says nothing (its writer may have died): the call
says how many bytes there were.
"""

import asyncio
import contextlib
import fcntl
import io
import os
import select
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol, TypeVar, cast

from skerry.core.errors import InvalidArgument
from skerry.images.streams import Streams

T = TypeVar("T")
_PIPE_SIZE = 1 << 20
# A client that has written all is about to say so; one that has not learns at its next write that nobody reads.
_LAST_WORD_SECONDS = 2.0


class Upload(Protocol):
    """One upload."""

    async def read(self, work: Callable[[BinaryIO], T]) -> T:
        """Runs work, which reads the upload like a file, on a thread. Its error rises first. Raises InvalidArgument, Unavailable."""


class Chunks:
    """The bytes come as chunks."""

    def __init__(self, streams: Streams, chunks: AsyncIterator[bytes], idle: float) -> None:
        self._streams = streams
        self._chunks = chunks
        self._idle = idle

    async def read(self, work: Callable[[BinaryIO], T]) -> T:
        return await self._streams.read(self._chunks, work, idle=self._idle)


class Piped:
    """The bytes come by a named pipe; `told` gives their number when the client has written them all, None when it never says."""

    def __init__(self, streams: Streams, pipe: "NamedPipe", told: Callable[[], Any]) -> None:
        self._streams = streams
        self._pipe = pipe
        self._told = told

    async def read(self, work: Callable[[BinaryIO], T]) -> T:
        try:
            result = await self._streams.run(lambda: work(cast("BinaryIO", self._pipe)), self._pipe.stop)
        except Exception:
            # A client that writes a last message when its call ends loses the error (grpc.aio): it is waited for.
            self._pipe.hang_up()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORD_SECONDS):
                    await self._told()
            raise
        size = await self._told()
        if size != self._pipe.count:
            raise InvalidArgument("invalid tar archive: unexpected EOF")
        return result


class NamedPipe(io.RawIOBase):
    """The reading end of a named pipe, read by one thread. Raises InvalidArgument when nothing comes for idle seconds."""

    def __init__(self, path: str, idle: float) -> None:
        self.path = path
        self.count = 0
        self._idle = idle
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        except PermissionError:
            pass  # the user's share of pipes is used up: a small one does too
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._stop, select.POLLIN)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Reads up to size bytes; b"" when the writer has closed the pipe."""
        while True:
            ready = dict(self._poll.poll(self._idle * 1000))
            if not ready:
                raise InvalidArgument(f"nothing came for {self._idle:g} s")
            if self._stop in ready:
                raise EOFError("cancelled")
            try:
                data = os.read(self._fd, _PIPE_SIZE if size < 0 else size)
            except BlockingIOError:
                continue
            self.count += len(data)
            return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # narrower than the stubs' Buffer
        data = self.read(len(buffer))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def stop(self) -> None:
        """Ends the reader. May be called by any thread."""
        os.eventfd_write(self._stop, 1)

    def hang_up(self) -> None:
        """Tells the writer that nobody reads any more. Not while a thread reads."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.hang_up()
            os.close(self._stop)


class Pipes:
    """Makes named pipes in a folder of its own. What a killed predecessor left there is removed."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))

    @contextmanager
    def one(self, idle: float) -> Iterator[NamedPipe]:
        """Yields a pipe; it is gone with the body."""
        pipe = NamedPipe(os.path.join(self._folder, os.urandom(16).hex()), idle)
        try:
            yield pipe
        finally:
            os.unlink(pipe.path)
            pipe.close()


async def told(requests: AsyncIterator[Any]) -> int | None:
    """Returns the size in the UploadDone that ends an upload by pipe; None when the call ended without it."""
    request = await anext(requests, None)
    return request.done.size if request is not None and request.WhichOneof("part") == "done" else None
