"""GET /containers/{id}/stats."""

import asyncio

import grpc
import grpc.aio
import msgspec
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound
from skerry.core.rpc.channel import call_again, translated
from skerry.gateway.call import Call, Route, find, json, streaming
from skerry.gateway.docker.stats import stats as document

_AGAIN_SECONDS = 0.2


async def stats(call: Call) -> web.StreamResponse:
    """Sends one sample a second until the container is removed or the client leaves; stream=0: one, taken over a second, then the end."""
    stream, one_shot = call.flag("stream", True), call.flag("one-shot")
    if stream and one_shot:
        raise InvalidArgument("cannot have stream=true and one-shot=true")
    request = pb.StatsRequest(container=await call.container_id(), stream=stream, one_shot=one_shot)
    if not stream:
        return json(document(await call_again(lambda: _one(call, request), what="the container service")))
    await find(call.peers, request.container)
    with call.peers.stream():
        response = await streaming(call)
        while True:
            await _samples(call, request, response)
            # The node's service restarts, or the container is gone.
            await asyncio.sleep(_AGAIN_SECONDS)
            try:
                await find(call.peers, request.container)
            except NotFound:
                break
    await response.write_eof()
    return response


async def _one(call: Call, request: pb.StatsRequest) -> pb.StatsResponse:
    stream = call.peers.containers.Stats(request)
    try:
        async for sample in stream:
            return sample
    finally:
        stream.cancel()
    return pb.StatsResponse(id=request.container)


async def _samples(call: Call, request: pb.StatsRequest, response: web.StreamResponse) -> None:
    stream = call.peers.containers.Stats(request)
    try:
        async for sample in stream:
            await response.write(msgspec.json.encode(document(sample)) + b"\n")
    except grpc.aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND):
            raise translated(error) from error
    finally:
        stream.cancel()


ROUTES: list[Route] = [("GET", "/containers/{id}/stats", stats)]
