"""Removing blobs that no image needs, never while something is being taken in."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

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
        # Blobs that are being read, and those of them that a sweep has left for that.
        self._kept: Counter[str] = Counter()
        self._spared: set[str] = set()

    @contextmanager
    def keeping(self, digests: set[str]) -> Iterator[None]:
        """Keeps blobs that are being read, whatever becomes of their images, for the body's time."""
        self._kept.update(digests)
        try:
            yield
        finally:
            self._kept.subtract(digests)
            gone = {digest for digest in digests if self._kept[digest] <= 0}
            for digest in gone:
                del self._kept[digest]
            if gone & self._spared:
                self._spared -= gone
                self.soon()

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
                freed = 0
                for digest in [one for one in self._blobs.all() if one not in used]:
                    if digest in self._kept:
                        self._spared.add(digest)
                    else:
                        freed += self._blobs.remove(digest)
                return freed

            return await asyncio.to_thread(sweep)
