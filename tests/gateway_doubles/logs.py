"""The log router's double: reads the containers double's spool."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gateway_doubles.containers import Containers
from skerry.api.containers.v1 import containers_pb2
from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.api.logs.v1.logs_pb2_grpc import LogsServiceServicer
from skerry.core.errors import InvalidArgument


class Logs(LogsServiceServicer):
    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self.removed: list[str] = []
        # Cleared: removals wait.
        self.may_remove = asyncio.Event()
        self.may_remove.set()
        self.requests: list[pb.ReadRequest] = []

    async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:
        driver = request.driver or "json-file"
        if driver not in {"json-file", "none", "local"}:
            raise InvalidArgument(f"logger: no log driver named '{driver}' is registered")
        path = f"/log/{request.container_id}-json.log" if driver == "json-file" else ""
        return pb.ValidateResponse(driver=driver, options=request.options, path=path)

    async def Ship(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ShipResponse]:
        async for request in request_iterator:
            yield pb.ShipResponse(ack=pb.Ack(container_id=request.batch.container_id))

    async def Read(self, request: pb.ReadRequest, context: Any) -> AsyncIterator[pb.ReadResponse]:
        self.requests.append(request)
        asked = containers_pb2.ReadSpoolRequest(
            id=request.container_id,
            stdout=request.stdout,
            stderr=request.stderr,
            follow=request.follow,
            multiplexed=request.framing == pb.FRAMING_MULTIPLEXED,
        )
        if request.HasField("tail"):
            asked.tail = request.tail
        async for piece in self._containers.ReadSpool(asked, context):
            yield pb.ReadResponse(data=piece.data)

    async def Remove(self, request: pb.RemoveRequest, context: Any) -> pb.RemoveResponse:
        await self.may_remove.wait()
        self.removed.append(request.container_id)
        return pb.RemoveResponse()
