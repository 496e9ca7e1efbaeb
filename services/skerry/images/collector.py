"""Removing blobs that no image needs, never while something is being taken in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from skerry.core.lifecycle import Tasks
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog


class Collector:
    """Owner of the rule that blobs become part of an image, or garbage, only at the end of what brought them."""

    def __init__(self, catalog: Catalog, blobs: Blobs, tasks: Tasks) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._tasks = tasks
        self._taking = 0
        self._owed = False
        self._sweeping = asyncio.Lock()

    @asynccontextmanager
    async def taking(self, *, leaves: bool = False) -> AsyncIterator[None]:
        """Holds collections off while the body stores blobs and until it has told the catalog of them.

        When the body fails, or `leaves` says that it may leave blobs that no image needs, a collection follows.
        """
        async with self._sweeping:
            self._taking += 1
        try:
            yield
        except BaseException:
            leaves = True
            raise
        finally:
            self._taking -= 1
            self._owed |= leaves
            if self._owed and not self._taking:
                self.soon()

    def soon(self) -> None:
        """Collects, without anybody waiting for it: unlinking gigabytes takes its time."""
        _ = self._tasks.spawn(self.collect(), "collect blobs")

    async def collect(self) -> int | None:
        """Removes what no image needs; returns bytes freed. None: postponed to the end of what is being taken in."""
        async with self._sweeping:
            if self._taking:
                self._owed = True
                return None
            self._owed = False
            used = await self._catalog.blobs_in_use()

            def sweep() -> int:
                return sum(self._blobs.remove(digest) for digest in list(self._blobs.all()) if digest not in used)

            return await asyncio.to_thread(sweep)
