"""POST /containers/{id}/wait."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import msgspec
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import translated
from skerry.gateway.call import Call, Route, streaming
from skerry.gateway.versions import WAIT_CONDITION_CHECKED

_CONDITIONS = {
    "": pb.WAIT_CONDITION_NOT_RUNNING,
    "not-running": pb.WAIT_CONDITION_NOT_RUNNING,
    "next-exit": pb.WAIT_CONDITION_NEXT_EXIT,
    "removed": pb.WAIT_CONDITION_REMOVED,
}


async def wait(call: Call) -> web.StreamResponse:
    """Sends the head once no exit can be missed any more, and the exit code when it comes.

    The docker CLI waits before it starts, and starts once it has the head.
    """
    text = call.text("condition")
    if text not in _CONDITIONS and call.version >= WAIT_CONDITION_CHECKED:
        raise InvalidArgument(f'invalid condition: "{text}"')
    condition = _CONDITIONS.get(text, pb.WAIT_CONDITION_NOT_RUNNING)
    request = pb.WaitRequest(id=await call.container_id(), condition=condition)
    with call.peers.stream():
        stream = call.peers.containers.Wait(request)
        try:
            registered = await _next(stream)
            if registered is None:
                raise ConnectionResetError("the node ended the wait")
            response = await streaming(call)
            exited = registered.exited if registered.WhichOneof("item") == "exited" else None
            if exited is None:
                exited = await _exited(call, stream, request, registered.registered.run)
        finally:
            stream.cancel()
        if condition == pb.WAIT_CONDITION_REMOVED and (removal := call.peers.removals.get(request.id)) is not None:
            # The node has removed it; address, log and lease go with it before the client hears of it.
            await asyncio.wait([removal], timeout=10)
    error = {"Message": exited.error} if exited.error else None
    await response.write(msgspec.json.encode({"Error": error, "StatusCode": exited.exit_code}) + b"\n")
    await response.write_eof()
    return response


async def _next(stream: Any) -> pb.WaitResponse | None:
    try:
        item = await stream.read()
    except grpc.aio.AioRpcError as error:
        raise translated(error) from error
    return None if item is grpc.aio.EOF else item


async def _exited(call: Call, stream: Any, request: pb.WaitRequest, run: int) -> pb.Exited:
    """Reads until the exit; takes the wait up again when the node's service restarts."""
    while True:
        try:
            while (item := await stream.read()) is not grpc.aio.EOF:
                if item.WhichOneof("item") == "exited":
                    return item.exited  # type: ignore[no-any-return]
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                # Removed while the node's service was away; what its exit code was is not known any more.
                return pb.Exited()
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                return pb.Exited(exit_code=-1, error=error.details() or error.code().name)
        await asyncio.sleep(0.1)
        again = pb.WaitRequest()
        again.CopyFrom(request)
        again.after_run = run
        stream = call.peers.containers.Wait(again)


ROUTES: list[Route] = [("POST", "/containers/{id}/wait", wait)]
