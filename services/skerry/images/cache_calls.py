"""FindChild on the wire: translation only."""

from typing import Any

from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceServicer
from skerry.images import cache, library
from skerry.images.catalog import Catalog
from skerry.images.collector import Collector


class CacheCalls(ImagesServiceServicer):
    """See images.proto."""

    _catalog: Catalog
    _collector: Collector

    async def FindChild(self, request: pb.FindChildRequest, context: Any) -> pb.FindChildResponse:
        found = await cache.find_child(self._catalog, self._collector, request)
        return pb.FindChildResponse(image=library.to_proto(found) if found is not None else None)
