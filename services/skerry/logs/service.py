"""LogsService on the wire."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.api.logs.v1.logs_pb2_grpc import LogsServiceServicer
from skerry.core.lifecycle import Tasks
from skerry.logs import drivers, read
from skerry.logs.containers import Containers
from skerry.logs.ship import Shipment

NAME = "skerry.api.logs.v1.LogsService"


class LogsService(LogsServiceServicer):
    """One log router."""

    def __init__(self, containers: Containers, tasks: Tasks, default: tuple[str, dict[str, str]], stopping: asyncio.Event) -> None:
        self._containers = containers
        self._tasks = tasks
        self._default_driver, self._default_options = default
        self._stopping = stopping

    async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:
        name = request.driver or self._default_driver
        # Docker's rule: the default's options belong to the default driver only.
        options = {**(self._default_options if name == self._default_driver else {}), **request.options}
        driver = drivers.checked(name, options)
        path = self._containers.path(request.container_id) if driver.stored and request.container_id else ""
        return pb.ValidateResponse(driver=name, options=options, path=path)

    async def Ship(self, request_iterator: AsyncIterator[pb.ShipRequest], context: Any) -> AsyncIterator[pb.ShipResponse]:
        async for answer in Shipment(self._containers, self._tasks).serve(request_iterator, self._stopping):
            yield answer

    async def Read(self, request: pb.ReadRequest, context: Any) -> AsyncIterator[pb.ReadResponse]:
        async for answer in read.read(self._containers, request, self._stopping):
            yield answer

    async def Remove(self, request: pb.RemoveRequest, context: Any) -> pb.RemoveResponse:
        await self._containers.remove(request.container_id)
        return pb.RemoveResponse()
