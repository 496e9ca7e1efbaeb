"""Check on the wire."""

from collections.abc import AsyncIterator
from typing import Any

from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceServicer
from skerry.images.check import Checker


class CheckCalls(ImagesServiceServicer):
    """The calls that look after the store itself."""

    checker: Checker

    async def Check(self, request: pb.CheckRequest, context: Any) -> AsyncIterator[pb.CheckResponse]:
        async for step in self.checker.run(repair=request.repair):
            yield step
