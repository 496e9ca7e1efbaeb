"""A few namespaces made ahead: making one is 1 ms of the 2 that a sandbox takes.

They are held by descriptors only, so a killed service leaves none behind. For the worker's thread, but for `refill`.
"""

import asyncio
import logging
import os

from skerry.networks import namespaces
from skerry.networks.worker import Worker

_log = logging.getLogger(__name__)


class Pool:
    """Namespaces ready to be given to sandboxes."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        """size 0: each is made when it is needed. loop is where `refill` runs."""
        self._size = size
        self._loop = loop
        self._ready: list[int] = []
        self._low = asyncio.Event()
        self._low.set()

    def take(self, path: str) -> None:
        """Keeps a namespace at path. Raises OSError."""
        fd = self._ready.pop() if self._ready else namespaces.make()
        try:
            namespaces.keep(fd, path)
        finally:
            os.close(fd)
        self._loop.call_soon_threadsafe(self._low.set)

    async def refill(self, worker: Worker, idle: float = 0.02) -> None:
        """Fills the pool, one namespace at a time, once nothing was taken for `idle` seconds. Runs until cancelled."""
        while True:
            await self._low.wait()
            self._low.clear()
            await asyncio.sleep(idle)
            if self._low.is_set() or len(self._ready) >= self._size:
                continue
            try:
                await worker.run(self._add)
            except OSError as error:
                _log.warning("cannot make a namespace ahead", extra={"error": str(error)})
                continue
            self._low.set()

    def close(self) -> None:
        """Lets go of what is ready."""
        while self._ready:
            os.close(self._ready.pop())

    def _add(self) -> None:
        self._ready.append(namespaces.make())
