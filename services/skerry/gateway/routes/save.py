"""Saving images: GET /images/get and /images/{name}/get."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import grpc.aio
from aiohttp import web

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import NotFound
from skerry.core.rpc.channel import call_again, translated
from skerry.gateway import platforms
from skerry.gateway.call import COMMON_HEADERS, Call, Route
from skerry.gateway.sending import Sender, boot_id, sending

# Pieces that are looked at before the answer begins.
_EARLY = 8


async def save_many(call: Call) -> web.StreamResponse:
    """GET /images/get."""
    return await _save(call, call.request.query.getall("names", []))


async def save_one(call: Call) -> web.StreamResponse:
    """GET /images/{name}/get."""
    return await _save(call, [call.params["name"]])


async def _save(call: Call, names: list[str]) -> web.StreamResponse:
    await call_again(lambda: call.peers.images.Info(pb.InfoRequest()), what="the image store")
    request = pb.SaveRequest(images=names, boot_id=boot_id(), platform=platforms.parameter(call))
    try:
        return await _answer(call, request)
    except NotFound as error:
        if call.begun or not isinstance(error.__cause__, OSError):
            raise
        # The same kernel and yet not the same files: a container of its own. The bytes must travel.
        request.boot_id = ""
        return await _answer(call, request)


async def _answer(call: Call, request: pb.SaveRequest) -> web.StreamResponse:
    async with _messages(call, request) as messages:
        begin = (await anext(messages)).begin
        left, early = begin.size, [await anext(messages)]
        while early[-1].WhichOneof("piece") == "chunk" and len(early) < _EARLY and sum(map(_size, early)) < left:
            early.append(await anext(messages))
        if early[-1].WhichOneof("piece") == "file":
            with _opened(early[-1].file):
                pass  # it can be opened: so can the others
        response = web.StreamResponse(headers={**COMMON_HEADERS, "Content-Type": "application/x-tar"})
        response.content_length = begin.size
        call.begun = True
        await response.prepare(call.request)
        async with sending(call.request) as sender:
            while left > 0:
                message = early.pop(0) if early else await anext(messages)
                await _send(sender, message)
                left -= _size(message)
        await response.write_eof()
        return response


def _size(message: pb.SaveResponse) -> int:
    return message.file.size or len(message.chunk)


async def _send(sender: Sender, message: pb.SaveResponse) -> None:
    if message.WhichOneof("piece") == "chunk":
        await sender.data(message.chunk)
    else:
        with _opened(message.file) as file:
            await sender.file(file, message.file.size)


@contextmanager
def _opened(piece: pb.FilePiece) -> Iterator[int]:
    try:
        file = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"layer file: {error.strerror}") from error
    try:
        yield file
    finally:
        os.close(file)


@asynccontextmanager
async def _messages(call: Call, request: pb.SaveRequest) -> AsyncIterator[AsyncIterator[pb.SaveResponse]]:
    """Reads a Save call, ended with the body. Errors rise as the store raised them."""
    stream: Any = call.peers.images.Save(request)

    async def read() -> AsyncGenerator[pb.SaveResponse, None]:
        try:
            while (message := await stream.read()) is not grpc.aio.EOF:
                yield message
        except grpc.aio.AioRpcError as error:
            raise translated(error) from error

    messages = read()
    try:
        yield messages
    finally:
        stream.cancel()
        with suppress(RuntimeError):  # it is being read: the call that reads it is cancelled
            await messages.aclose()


ROUTES: list[Route] = [
    ("GET", "/images/get", save_many),
    ("GET", "/images/{name...}/get", save_one),
]
