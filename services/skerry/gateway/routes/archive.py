"""docker cp: a path of a container described, read as tar, written from a tar."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc.aio
import msgspec
from aiohttp import StreamReader, web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import COMMON_HEADERS, Call, Route
from skerry.gateway.copies import put_archive, put_large
from skerry.gateway.docker.times import rfc3339

STAT_HEADER = "X-Docker-Container-Path-Stat"
_PIECE = 1 << 20
_LINGER = 0.05
_SMALL = 256 << 10


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidArgument("bad parameter: pathcannot be empty")  # the text is Docker's, blank missing and all
    return path


def stat_header(stat: pb.PathStat) -> str:
    """Returns a path's description as Docker's header has it."""
    document = {
        "name": stat.name,
        "size": stat.size,
        "mode": stat.mode,
        "mtime": rfc3339(stat.mtime_ns) if stat.mtime_ns else "1970-01-01T00:00:00Z",
        "linkTarget": stat.link_target,
    }
    return base64.b64encode(msgspec.json.encode(document)).decode()


async def stat(call: Call) -> web.StreamResponse:
    """HEAD /containers/{id}/archive."""
    request = pb.StatPathRequest(container=call.params["id"], path=_path(call))
    answer = await call_again(lambda: call.peers.containers.StatPath(request), what="the container service")
    return web.Response(status=200, headers={**COMMON_HEADERS, STAT_HEADER: stat_header(answer.stat)})


async def get(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/archive."""
    request = pb.GetArchiveRequest(container=call.params["id"], path=_path(call))
    await call.container_id()  # also waits for a service that is being restarted: a stream cannot be asked for twice
    stream: Any = call.peers.containers.GetArchive(request)
    try:
        first = await stream.read()
        headers = {**COMMON_HEADERS, STAT_HEADER: stat_header(first.stat), "Content-Type": "application/x-tar"}
        response = web.StreamResponse(status=200, headers=headers)
        response.enable_chunked_encoding()
        call.begun = True
        await response.prepare(call.request)
        while (item := await stream.read()) is not grpc.aio.EOF:
            await response.write(item.chunk)
    finally:
        stream.cancel()
    await response.write_eof()
    return response


async def put(call: Call) -> web.StreamResponse:
    """PUT /containers/{id}/archive."""
    opened = pb.PutArchiveOpen(
        container=call.params["id"],
        path=_path(call),
        no_overwrite_dir_non_dir=call.flag("noOverwriteDirNonDir"),
        copy_uid_gid=call.flag("copyUIDGID"),
    )
    await call.container_id()
    begun, whole = await _beginning(call.request.content)
    if whole:
        await put_archive(call.peers, opened, _each(begun))
    else:
        await put_large(call.peers, opened, _each(begun, call.request.content))
    return web.Response(status=200, headers=COMMON_HEADERS)


async def _beginning(content: StreamReader) -> tuple[list[bytes], bool]:
    """Returns what comes of a body at once, and whether that is all of it: then it is not worth a pipe."""
    held: list[bytes] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while sum(map(len, held)) < _SMALL:
                data = await content.readany()
                if not data and content.at_eof():
                    return held, True
                held.append(data)
    return held, False


async def _each(begun: list[bytes], content: StreamReader | None = None) -> AsyncIterator[bytes]:
    for data in begun:
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]
    if content is not None:
        async for data in content.iter_any():
            yield data


ROUTES: list[Route] = [
    ("HEAD", "/containers/{id}/archive", stat),
    ("GET", "/containers/{id}/archive", get),
    ("PUT", "/containers/{id}/archive", put),
]
