"""docker cp: a path of a container described, read as tar, written from a tar."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import msgspec
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import COMMON_HEADERS, Call, Route
from skerry.gateway.copies import put_archive
from skerry.gateway.docker.times import rfc3339

STAT_HEADER = "X-Docker-Container-Path-Stat"
_PIECE = 1 << 20
_LINGER = 0.05


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
    await put_archive(call.peers, opened, pieces(call))
    return web.Response(status=200, headers=COMMON_HEADERS)


async def pieces(call: Call) -> AsyncIterator[bytes]:
    """Yields the body in pieces of at most 1 MiB. Each costs a message, so what comes in quick succession goes together."""
    content = call.request.content
    held: list[bytes] = []
    size = 0
    while True:
        try:
            async with asyncio.timeout(_LINGER if held else None):
                data = await content.readany()
        except TimeoutError:
            data = b""
            if content.at_eof():
                break
        else:
            if not data and content.at_eof():
                break
        if data and size + len(data) <= _PIECE:
            held.append(data)
            size += len(data)
            continue
        if held:
            yield b"".join(held)
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]
        held, size = [], 0
    if held:
        yield b"".join(held)


ROUTES: list[Route] = [
    ("HEAD", "/containers/{id}/archive", stat),
    ("GET", "/containers/{id}/archive", get),
    ("PUT", "/containers/{id}/archive", put),
]
