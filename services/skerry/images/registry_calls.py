"""ImagesService on the wire: what asks registries and sends to them."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceServicer
from skerry.images.describe import Describing
from skerry.images.push import Pushes
from skerry.images.registry.login import Logins
from skerry.images.search import Searches
from skerry.images.steps import plainly, with_progress


class Registries(msgspec.Struct, frozen=True):
    """What answers the calls."""

    pushes: Pushes
    searches: Searches
    logins: Logins
    describing: Describing


class RegistryCalls(ImagesServiceServicer):
    """Push, Search, Login, Describe."""

    registries: Registries

    async def Push(self, request: pb.PushRequest, context: Any) -> AsyncIterator[pb.PushResponse]:
        async for step in with_progress(lambda tell: self.registries.pushes.push(request, tell)):
            if isinstance(step, pb.Pushed):
                yield pb.PushResponse(pushed=step)
            elif step is not None:
                yield pb.PushResponse(progress=step)

    async def Search(self, request: pb.SearchRequest, context: Any) -> pb.SearchResponse:
        return pb.SearchResponse(results=await plainly(self.registries.searches.search(request)))

    async def Login(self, request: pb.LoginRequest, context: Any) -> pb.LoginResponse:
        token = await plainly(self.registries.logins.login(request.auth))
        return pb.LoginResponse(status="Login Succeeded", identity_token=token)

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        return await plainly(self.registries.describing.describe(request))
