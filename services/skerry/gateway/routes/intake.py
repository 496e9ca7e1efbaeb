"""Archives that come in: load and import, with Docker's progress stream."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from typing import Any

import grpc.aio
from aiohttp import web

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import SkerryError
from skerry.gateway import platforms
from skerry.gateway.beside import beside
from skerry.gateway.call import Call, Route
from skerry.gateway.docker.commit import check_changes
from skerry.gateway.docker.images import join_reference, progress
from skerry.gateway.routes.output import Output, prepare, store_there
from skerry.gateway.sending import boot_id, pour

_PIECE = 256 << 10


class _Intake:
    """A call that takes the body of a request: through a named pipe when the image store is on this machine, else in chunks."""

    def __init__(self, call: Call, method: Any, request: type[Any], opening: Callable[[str], Any]) -> None:
        self._call = call
        self._method = method
        self._request = request
        self._opening = opening
        self._stream: Any = None
        self._pipe = -1

    async def open(self, stack: ExitStack, *, pipe: bool = True) -> Any:
        """Begins the call; returns its stream. Raises AioRpcError."""
        for identity in (boot_id(), "") if pipe else ("",):
            self._stream = self._method()
            stack.callback(self._stream.cancel)
            await self._stream.write(self._opening(identity))
            if not identity:
                break
            answer = await self._stream.read()
            if answer is grpc.aio.EOF or answer.WhichOneof("step") != "opened" or not answer.opened.path:
                break
            try:
                self._pipe = os.open(answer.opened.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue  # the same kernel and yet not the same files: a container of its own
            stack.callback(self._close)
            break
        return self._stream

    def _close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    async def feed(self) -> None:
        """Sends the body. An answer that comes before the end of the body is the reader's business."""
        try:
            if self._pipe < 0:
                async for piece in self._pieces():
                    await self._stream.write(self._request(chunk=piece))
            else:
                size = await pour(self._call.request.content.iter_any(), self._pipe)
                self._close()  # the reader sees the end
                await self._stream.write(self._request(done=pb.UploadDone(size=size)))
            await self._stream.done_writing()
        except BrokenPipeError:
            # The store has refused it, and waits for our last word before it says why.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._stream.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Yields the body in pieces as they come; the connection's back-pressure is the stream's."""
        async for data in self._call.request.content.iter_any():
            for start in range(0, len(data), _PIECE):
                yield data[start : start + _PIECE]


async def import_(call: Call) -> web.StreamResponse:
    """POST /images/create?fromSrc=: the body ("-"), or a URL that the image store fetches."""
    source = call.text("fromSrc").removeprefix("-")

    def header(identity: str) -> pb.ImportRequest:
        return pb.ImportRequest(
            header=pb.ImportHeader(
                name=join_reference(call.text("repo"), call.text("tag")) if call.text("repo") else "",
                message=call.text("message"),
                changes=call.request.query.getall("changes", []),
                platform=call.text("platform"),
                boot_id=identity,
                source=source,
            )
        )

    check_changes(call.request.query.getall("changes", []), call.version)
    await store_there(call)
    output = Output(call)
    with ExitStack() as stack:
        try:
            intake = _Intake(call, call.peers.images.Import, pb.ImportRequest, header)
            stream = await intake.open(stack, pipe=not source)
            async with beside(intake.feed()):
                while (item := await stream.read()) is not grpc.aio.EOF:
                    if item.WhichOneof("step") == "progress":
                        await output.send(progress(item.progress))
                    elif item.WhichOneof("step") == "image":
                        await prepare(call, item.image.layers, item.image.id)
                        await output.send({"status": item.image.id})
        except (SkerryError, grpc.aio.AioRpcError) as error:
            await output.fail(error)
        return await output.end()


async def load(call: Call) -> web.StreamResponse:
    """POST /images/load."""
    quiet, wanted = call.flag("quiet"), platforms.parameter(call)

    def opening(identity: str) -> pb.LoadRequest:
        return pb.LoadRequest(open=pb.OpenUpload(boot_id=identity, platform=wanted))

    await store_there(call)
    output = Output(call)
    prepared: set[str] = set()
    with ExitStack() as stack:
        try:
            intake = _Intake(call, call.peers.images.Load, pb.LoadRequest, opening)
            stream = await intake.open(stack)
            async with beside(intake.feed()):
                while (item := await stream.read()) is not grpc.aio.EOF:
                    match item.WhichOneof("step"):
                        case "progress" if not quiet:
                            await output.send(progress(item.progress))
                        case "said":
                            await output.send({"stream": item.said})
                        case "loaded":
                            await _told(call, output, item.loaded, prepared)
        except (SkerryError, grpc.aio.AioRpcError) as error:
            await output.fail(error)
        return await output.end()


async def _told(call: Call, output: Output, loaded: pb.Loaded, prepared: set[str]) -> None:
    chains = {layer.chain_id for layer in loaded.image.layers}
    if not chains <= prepared:
        await prepare(call, loaded.image.layers, loaded.image.id)
        prepared |= chains
    for line in [f"Loaded image: {name}\n" for name in loaded.names] or [f"Loaded image ID: {loaded.image.id}\n"]:
        await output.send({"stream": line})


ROUTES: list[Route] = [
    ("POST", "/images/load", load),
]
