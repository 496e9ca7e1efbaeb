"""Between work that tells how far it is and the stream that its client reads."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from skerry.core.errors import Failed

_PENDING = 1000
T = TypeVar("T")


async def plainly(work: Awaitable[T]) -> T:
    """Awaits work; a host that refuses (no space, no memory) is told as such."""
    try:
        return await work
    except OSError as error:
        raise Failed(f"image store: {(error.strerror or str(error)).lower()}") from error


async def with_progress(work: Callable[[Callable[[Any], None]], Awaitable[Any]]) -> AsyncIterator[Any]:
    """Yields what work tells, then what it returns. A reader that is too slow misses how far a transfer is, and nothing else."""
    queue: asyncio.Queue[Any] = asyncio.Queue()

    def tell(step: Any) -> None:
        if queue.qsize() < _PENDING or not getattr(step, "current", 0):
            queue.put_nowait(step)

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
