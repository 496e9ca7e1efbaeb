"""Work that tells how far it is, as the messages of a stream."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed

Tell = Callable[[pb.Progress], None]
_PENDING = 1000
T = TypeVar("T")


async def plainly(work: Awaitable[T]) -> T:
    """Awaits work; a host that refuses (no space, no memory) is told as such."""
    try:
        return await work
    except OSError as error:
        raise Failed(f"image store: {(error.strerror or str(error)).lower()}") from error


async def with_progress(work: Callable[[Tell], Awaitable[T]]) -> AsyncIterator[pb.Progress | T]:
    """Yields progress as it is told, then the result. A reader that is too slow misses how far a transfer is, and nothing else."""
    queue: asyncio.Queue[pb.Progress] = asyncio.Queue()

    def tell(progress: pb.Progress) -> None:
        if queue.qsize() < _PENDING or not progress.current:
            queue.put_nowait(progress)

    running = asyncio.ensure_future(plainly(work(tell)))
    wake = asyncio.ensure_future(queue.get())
    try:
        while not (running.done() and queue.empty() and not wake.done()):
            await asyncio.wait({running, wake}, return_when=asyncio.FIRST_COMPLETED)
            if wake.done():
                yield wake.result()
                wake = asyncio.ensure_future(queue.get())
                await asyncio.sleep(0)  # lets get() take what is queued
        yield running.result()
    finally:
        wake.cancel()
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # seen: of a call that its client gave up nobody else asks
