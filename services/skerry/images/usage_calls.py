"""GetHistory and DiskUsage on the wire."""

from typing import Any

from skerry.api.images.v1 import images_pb2 as pb
from skerry.images import library, usage
from skerry.images.catalog import Catalog
from skerry.images.history import history


class UsageCalls:
    """The image store's part that describes what it has."""

    _catalog: Catalog

    async def GetHistory(self, request: pb.GetHistoryRequest, context: Any) -> pb.GetHistoryResponse:
        entry, _ = await library.find(self._catalog, request.image)
        return pb.GetHistoryResponse(items=await history(self._catalog, entry))

    async def DiskUsage(self, request: pb.DiskUsageRequest, context: Any) -> pb.DiskUsageResponse:
        entries = await self._catalog.all()
        hidden = usage.intermediate(entries)
        visible = [entry for entry in entries if entry.image.id not in hidden]
        shares = usage.shares(visible)
        cache = usage.build_cache(entries)
        cached = {entry.image.id for entry in cache}
        needed = {layer.diff_id for entry in entries if entry.image.id not in cached for layer in entry.image.layers}
        freed = {layer.diff_id: layer.shown for entry in cache for layer in entry.image.layers if layer.diff_id not in needed}
        return pb.DiskUsageResponse(
            images=[
                pb.ImageUsage(
                    image=library.to_proto(entry), shared_size=shares[entry.image.id].shared, unique_size=shares[entry.image.id].unique
                )
                for entry in visible
            ],
            layers_size=usage.total(entries),
            build_cache_size=sum(freed.values()),
            build_cache_count=len(cache),
        )
