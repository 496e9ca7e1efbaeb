"""The one thread that changes network namespaces and talks to the kernel's networking; the event loop's thread never does.

One thread because all of it queues on the kernel's rtnl lock anyway, and because setns and unshare act on the calling thread.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Worker:
    """Runs blocking functions in turn on its thread."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread

    async def run(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Returns what work(*arguments) returns. It is finished also when the caller is cancelled."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments))


@asynccontextmanager
async def open_worker() -> AsyncIterator[Worker]:
    """Starts the thread; at the end waits for what it does."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="network")
    try:
        yield Worker(thread)
    finally:
        await asyncio.to_thread(thread.shutdown)
