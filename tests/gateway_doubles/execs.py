"""Execs of the node's double."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from gateway_doubles.boxes import Output, Process, output_message
from gateway_doubles.containers import Containers
from skerry.api.containers.v1 import containers_pb2
from skerry.api.containers.v1 import execs_pb2 as pb
from skerry.api.containers.v1.execs_pb2_grpc import ExecsServiceServicer
from skerry.core.errors import Conflict, NotFound
from skerry.core.lifecycle import Tasks


class Execs(ExecsServiceServicer):
    def __init__(self, containers: Containers, tasks: Tasks) -> None:
        self._containers = containers
        self._tasks = tasks
        self.known: dict[str, pb.Exec] = {}
        self._outputs: dict[str, Output] = {}

    def find(self, exec_id: str) -> pb.Exec:
        if exec_id not in self.known:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self.known[exec_id]

    async def CreateExec(self, request: pb.CreateExecRequest, context: Any) -> pb.CreateExecResponse:
        record = self._containers.find(request.container).record
        if record.state.status == containers_pb2.STATUS_PAUSED:
            raise Conflict(f"Container {request.container} is paused, unpause the container before exec")
        if record.state.status != containers_pb2.STATUS_RUNNING:
            raise Conflict(f"Container {record.id} is not running")
        value = pb.Exec(id=os.urandom(32).hex(), container_id=record.id, spec=request.spec)
        self.known[value.id] = value
        return pb.CreateExecResponse(exec=value)

    async def StartExec(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.StartExecResponse]:
        opening = (await anext(aiter(request_iterator))).open
        value = self.find(opening.id)
        if opening.HasField("offset"):
            yield pb.StartExecResponse(opened=containers_pb2.AttachOpened(tty=value.spec.tty))
            async for position, stream, data in self._outputs[value.id].read(opening.offset, True):
                yield pb.StartExecResponse(output=output_message(stream, data, value.spec.tty, position))
            yield pb.StartExecResponse(output=containers_pb2.Output(ended=True))
            return
        if value.started:
            raise Conflict(f"Error: Exec command {value.id} is already running")
        value.started = value.running = True
        output = self._outputs[value.id] = Output()
        tty = value.spec.tty
        process = Process(list(value.spec.cmd), tty, output)
        run = self._tasks.spawn(self._run(value, process), "exec")
        if opening.detach:
            return
        yield pb.StartExecResponse(opened=containers_pb2.AttachOpened(tty=tty))
        feeder = self._tasks.spawn(self._stdin(process, request_iterator), "stdin")
        try:
            async for position, stream, data in output.read(0, True):
                yield pb.StartExecResponse(output=output_message(stream, data, tty, position))
            await asyncio.wait({run})
            yield pb.StartExecResponse(output=containers_pb2.Output(ended=True))
        finally:
            feeder.cancel()

    async def _run(self, value: pb.Exec, process: Process) -> None:
        if value.spec.cmd[0] == "nosuch":
            process.output.write(2, b"OCI runtime exec failed: exec failed: executable file not found in $PATH: unknown\r\n")
            value.exit_code = 127
        else:
            value.exit_code = await process.run()
        value.running = False
        process.output.end()

    async def _stdin(self, process: Process, request_iterator: Any) -> None:
        async for request in request_iterator:
            await process.stdin.put(request.stdin if request.WhichOneof("part") == "stdin" else None)

    async def ResizeExec(self, request: pb.ResizeExecRequest, context: Any) -> pb.ResizeExecResponse:
        self.find(request.id)
        return pb.ResizeExecResponse()

    async def GetExec(self, request: pb.GetExecRequest, context: Any) -> pb.GetExecResponse:
        return pb.GetExecResponse(exec=self.find(request.id))
