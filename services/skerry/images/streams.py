"""From a coroutine that receives chunks to a thread that reads them like a file: hashing and decompressing never run on the loop.

The threads are of its own: a client that stops in the middle of its upload must not hold a thread that others wait for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, TypeVar, cast

from skerry.core.errors import InvalidArgument, Unavailable
from skerry.images.pipe import Pipe

T = TypeVar("T")
# How long the rest of a refused upload is read.
DRAIN_SECONDS = 30.0
MAX_STREAMS = 128


class Streams:
    """Runs readers of streams, MAX_STREAMS at once at most. Made by `open_streams`."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._running = 0

    async def read(self, chunks: AsyncIterator[bytes], work: Callable[[BinaryIO], T], *, idle: float) -> T:
        """Feeds chunks to work, which reads them on a thread. An error on either side ends both; the reader's own error rises first.

        Raises InvalidArgument when no chunk comes for idle seconds, Unavailable when too many streams run.
        """
        if self._running >= MAX_STREAMS:
            raise Unavailable(f"more than {MAX_STREAMS} uploads and downloads at once")
        pipe = Pipe()

        def body() -> T:
            try:
                return work(cast("BinaryIO", pipe))
            finally:
                pipe.abandon()

        self._running += 1
        reading = asyncio.get_running_loop().run_in_executor(self._threads, body)
        feeding = asyncio.ensure_future(_feed(chunks, pipe, idle))
        try:
            return await asyncio.shield(reading)
        except Exception:
            # A client that still writes when its call ends loses the error (grpc.aio): the rest is read and dropped.
            await asyncio.wait({feeding}, timeout=DRAIN_SECONDS)
            raise
        finally:
            feeding.cancel()
            pipe.finish(EOFError("cancelled"))
            both: list[asyncio.Future[Any]] = [reading, feeding]
            await asyncio.wait(both)
            for one in both:
                if not one.cancelled():
                    one.exception()  # seen: the first error rises, the other is its consequence
            self._running -= 1

    async def run(self, work: Callable[[], T], stop: Callable[[], None] | None = None) -> T:
        """Runs work on one of the threads, to its end also when the caller is cancelled.

        stop makes work end soon: then its end is waited for. Raises Unavailable when too many run.
        """
        if self._running >= MAX_STREAMS:
            raise Unavailable(f"more than {MAX_STREAMS} uploads and downloads at once")
        self._running += 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        running.add_done_callback(self._ended)
        try:
            return await asyncio.shield(running)
        finally:
            if stop is not None:
                stop()
                await asyncio.wait({running})

    def _ended(self, running: "asyncio.Future[Any]") -> None:
        self._running -= 1
        if not running.cancelled():
            running.exception()  # seen: a caller that was cancelled does not ask


async def _feed(chunks: AsyncIterator[bytes], pipe: Pipe, idle: float) -> None:
    try:
        while True:
            try:
                async with asyncio.timeout(idle):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise InvalidArgument(f"nothing came for {idle:g} s") from None
            if chunk is None:
                break
            await pipe.put(chunk)
    except BaseException as error:
        # A cancelled feed must not reach the thread as CancelledError: that is the loop's own business.
        pipe.finish(error if isinstance(error, Exception) else EOFError("cancelled"))
        raise
    pipe.finish()


async def drained(requests: AsyncIterator[object]) -> None:
    """Reads an upload that is refused to its end: a client that still writes when the call ends loses the error (grpc.aio)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in requests:
                pass


@asynccontextmanager
async def open_streams() -> AsyncIterator[Streams]:
    """Owns the threads."""
    threads = ThreadPoolExecutor(MAX_STREAMS, thread_name_prefix="stream")
    try:
        yield Streams(threads)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
