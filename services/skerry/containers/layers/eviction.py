"""Giving back the disk that layers take which nobody needs: no container of this node, and no image of the stores that they came from."""

import asyncio
import logging
import time
from collections.abc import Callable

import grpc.aio

from skerry.api.images.v1 import images_pb2, images_pb2_grpc
from skerry.containers.layers.store import Layers
from skerry.core.rpc.channel import open_channel

_EVERY_SECONDS = 60.0
# A layer is asked for before there is a container, and made (commit) before there is an image, that needs it.
_YOUNG_SECONDS = 60.0
_TIMEOUT = 30.0
_AT_ONCE = 10_000
_LOG = logging.getLogger(__name__)


class Evictor:
    """Drops copies, those first that were not asked for the longest, as long as all together take more than `limit` bytes."""

    def __init__(self, layers: Layers, in_use: Callable[[], set[str]], store: str, *, limit: int, young: float = _YOUNG_SECONDS) -> None:
        self._layers = layers
        self._in_use = in_use
        self._store = store
        self._limit = limit
        self._young = young

    async def run(self) -> None:
        """Looks again and again. While a store is away nothing is dropped: its images may need it."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                if freed := await self.evict():
                    _LOG.info("dropped copies of layers that nobody needs: %d bytes", freed)
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                _LOG.debug("copies of layers stay, the image store cannot be asked for what it needs: %r", error)

    async def evict(self) -> int:
        """Drops what it may; returns the bytes of their tars. Raises AioRpcError, TimeoutError when a store cannot be asked."""
        before = time.time() - self._young
        copies = self._layers.copies()
        total = sum(copy.size for copy in copies)
        needed = self._in_use()
        found = [copy for copy in copies if copy.asked <= before and copy.diff_id not in needed]
        if total <= self._limit or not found:
            return 0
        used = await self._used([copy.diff_id for copy in found])
        freed = 0
        for copy in found:
            if total - freed <= self._limit:
                break
            # Asked again each time: a container may have come while we waited.
            if copy.diff_id not in used and copy.diff_id not in self._in_use():
                freed += await self._layers.drop(copy.diff_id, before=before)
        return freed

    async def _used(self, diff_ids: list[str]) -> set[str]:
        used: set[str] = set()
        # After a restart the store of the settings stands for all.
        for store in self._layers.stores or {self._store}:
            async with asyncio.timeout(_TIMEOUT), open_channel(store, self._layers.tls) as channel:
                stub = images_pb2_grpc.ImagesServiceStub(channel)
                for start in range(0, len(diff_ids), _AT_ONCE):
                    request = images_pb2.UsedLayersRequest(diff_ids=diff_ids[start : start + _AT_ONCE])
                    used.update((await stub.UsedLayers(request)).diff_ids)
        return used
