"""Removing blobs that no image needs, never while something is being taken in: by this service, or by another over the same store."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from skerry.core.errors import SkerryError, Unavailable
from skerry.core.ids import new_id
from skerry.core.lifecycle import Tasks
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Turns

# How long a turn lasts that is not renewed: what a dead replica holds others off.
_TURN_SECONDS = 60.0
_RETRY_SECONDS = 30.0
_BATCH = 100


class Collector:
    """Owner of the rule that blobs become part of an image, or garbage, only at the end of what brought them.

    turns: kept with other replicas of a shared store; None when this service is alone. Blobs that came in less than grace seconds ago
    are never removed, nor those that `claimed` names, given the size of each blob.
    """

    def __init__(
        self,
        catalog: Catalog,
        blobs: Blobs,
        tasks: Tasks,
        *,
        turns: Turns | None = None,
        grace: float = 0.0,
        claimed: Callable[[dict[str, int]], set[str]] = lambda sizes: set(),
    ) -> None:
        self.claimed = claimed
        self._catalog = catalog
        self._blobs = blobs
        self._tasks = tasks
        self._turns = turns
        self._grace = grace
        self._name = new_id()[:16]
        self._taking = 0
        self._owed = False
        self._sweeping = asyncio.Lock()
        self._bodies: set[asyncio.Timeout] = set()
        self._renewing: asyncio.Task[None] | None = None
        # Blobs that are being read, and those of them that a sweep has left for that.
        self._kept: Counter[str] = Counter()
        self._spared: set[str] = set()

    @asynccontextmanager
    async def keeping(self, digests: set[str]) -> AsyncIterator[None]:
        """Keeps blobs that are being read, whatever becomes of their images, for the body's time. Raises as `taking`."""
        self._kept.update(digests)
        try:
            async with AsyncExitStack() as stack:
                if self._turns is not None:
                    await stack.enter_async_context(self.taking())  # another replica knows nothing of our readers
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

        When the body fails, or `leaves` says that it may leave blobs that no image needs, a collection follows. Raises Unavailable, and
        cancels the body, when other replicas could not be held off any longer because the catalog was away.
        """
        async with self._sweeping:
            if not self._taking and self._turns is not None:
                await self._begin(self._turns)
            self._taking += 1
        deadline = asyncio.timeout(None)
        self._bodies.add(deadline)
        try:
            async with deadline:
                yield
        except BaseException as error:
            leaves = True
            if isinstance(error, TimeoutError) and deadline.expired():
                raise Unavailable("the catalog was away for so long that other image stores may have removed what came in") from None
            raise
        finally:
            self._bodies.discard(deadline)
            self._taking -= 1
            self._owed |= leaves
            if not self._taking:
                await self._end()
                if self._owed:
                    self.soon()

    async def _begin(self, turns: Turns) -> None:
        while not await turns.begin_intake(self._name, _TURN_SECONDS):
            await asyncio.sleep(0.2)  # another replica sweeps: that ends, or its turn does
        self._renewing = self._tasks.spawn(self._renew(turns), "renew the intake's turn")

    async def _renew(self, turns: Turns) -> None:
        valid = time.monotonic() + _TURN_SECONDS
        while True:
            await asyncio.sleep(_TURN_SECONDS / 4)
            begun = time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, valid - begun)):
                    renewed = await turns.renew_intake(self._name, _TURN_SECONDS)
            except (SkerryError, TimeoutError):
                renewed = begun + _TURN_SECONDS / 4 < valid  # once more, while the turn lasts
            else:
                valid = begun + _TURN_SECONDS
            if not renewed:
                for body in self._bodies:
                    body.reschedule(asyncio.get_running_loop().time())
                return

    async def _end(self) -> None:
        if self._turns is None:
            return
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        # Not awaited: a catalog that is away must not hold the intake's end; the turn runs out by itself.
        _ = self._tasks.spawn(self._give_back(self._turns), "end the intake's turn")

    async def _give_back(self, turns: Turns) -> None:
        async with self._sweeping:
            if not self._taking:
                await turns.end_intake(self._name)

    def soon(self) -> None:
        """Collects, without anybody waiting for it: unlinking gigabytes takes its time."""
        _ = self._tasks.spawn(self.collect(), "collect blobs")

    async def collect(self) -> int | None:
        """Removes what no image needs; returns bytes freed. None: postponed to the end of what is being taken in."""
        async with self._sweeping:
            if self._taking:
                self._owed = True
                return None
            if self._turns is not None and not await self._turns.begin_sweep(self._name, _TURN_SECONDS):
                self._owed = True
                _ = self._tasks.spawn(self._later(), "collect blobs later")
                return None
            self._owed = False
            try:
                return await self._sweep()
            finally:
                if self._turns is not None:
                    await self._turns.end_sweep(self._name)

    async def _later(self) -> None:
        await asyncio.sleep(_RETRY_SECONDS)
        if self._owed:
            await self.collect()

    async def _sweep(self) -> int:
        await self._catalog.expire(time.time_ns())
        used = await self._catalog.blobs_in_use()
        before = time.time() - self._grace
        garbage = await asyncio.to_thread(self._garbage, used, before)
        freed = 0
        for start in range(0, len(garbage), _BATCH):
            batch = garbage[start : start + _BATCH]
            if start and self._turns is not None and not await self._turns.begin_sweep(self._name, _TURN_SECONDS):
                break
            freed += await asyncio.to_thread(self._remove, batch)
        await asyncio.to_thread(self._blobs.tidy, before)
        return freed

    def _remove(self, batch: list[str]) -> int:
        freed = 0
        for digest in batch:
            if digest in self._kept:
                self._spared.add(digest)
            else:
                freed += self._blobs.remove(digest)
        return freed

    def _garbage(self, used: set[str], before: float) -> list[str]:
        listed = list(self._blobs.listed())
        young = {one.digest for one in listed if one.stored_at > before}
        # S3 keeps a layer as another blob: what is read of it is that one.
        keep = used | young | self.claimed({one.digest: one.size for one in listed})
        keep |= {one.kept_as for one in listed if one.digest in self._kept}
        keep |= {one.kept_as for one in listed if one.digest in keep}
        # What is kept as another blob goes first: a death in between leaves a blob without a use, not a name without a blob.
        return [one.digest for one in sorted(listed, key=lambda one: not one.kept_as) if one.digest not in keep]


async def sweeping(collector: Collector, every: float) -> None:
    """Collects again and again: what was too young the last time, and what dead replicas left."""
    while True:
        await asyncio.sleep(every)
        collector.soon()
