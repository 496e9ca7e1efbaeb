"""ExecsService on the wire: translation only."""

from collections.abc import AsyncIterator
from typing import Any

from skerry.api.containers.v1 import execs_pb2 as pb
from skerry.api.containers.v1.execs_pb2_grpc import ExecsServiceServicer
from skerry.containers.execs import Execs, check_runs
from skerry.core.errors import InvalidArgument


class ExecsService(ExecsServiceServicer):
    """See execs.proto."""

    def __init__(self, execs: Execs) -> None:
        self._execs = execs

    async def CreateExec(self, request: pb.CreateExecRequest, context: Any) -> pb.CreateExecResponse:
        made = await self._execs.create(request.container, request.spec)
        return pb.CreateExecResponse(exec=made.message())

    async def StartExec(self, request_iterator: AsyncIterator[pb.StartExecRequest], context: Any) -> AsyncIterator[pb.StartExecResponse]:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "open":
            raise InvalidArgument("the first message of StartExec is open")
        found = self._execs.find(first.open.id)
        if not first.open.HasField("offset"):
            check_runs(found.container, found.container.record.name)
        async for response in found.start(first.open, request_iterator):
            yield response

    async def ResizeExec(self, request: pb.ResizeExecRequest, context: Any) -> pb.ResizeExecResponse:
        found = self._execs.find(request.id)
        monitor = await found.terminal()
        await monitor.resize(request.height, request.width)
        return pb.ResizeExecResponse()

    async def GetExec(self, request: pb.GetExecRequest, context: Any) -> pb.GetExecResponse:
        return pb.GetExecResponse(exec=self._execs.find(request.id).message())
