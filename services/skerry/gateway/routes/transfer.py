"""Images that come in: pull, import, load, each with Docker's progress stream (JSON objects, CRLF)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import msgspec
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, NotSupported, SkerryError
from skerry.core.rpc.channel import call_again
from skerry.gateway.beside import beside
from skerry.gateway.call import Call, Route, registry_auth, streaming
from skerry.gateway.docker.images import failure, join_reference, progress
from skerry.gateway.errors import status_of

_log = logging.getLogger(__name__)
_PIECE = 256 << 10


class Output:
    """A progress stream whose head goes out with the first object, so that an error before it has a status of its own."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._response: web.StreamResponse | None = None

    async def send(self, document: dict[str, Any]) -> None:
        if self._response is None:
            self._response = await streaming(self._call)
        await self._response.write(msgspec.json.encode(document) + b"\r\n")

    async def fail(self, error: Exception) -> None:
        """Ends the stream with error; raises it when nothing was sent yet."""
        if self._response is None:
            raise error
        status, text = status_of(error)
        await self.send(failure(text, status if status == 401 else 1))

    async def end(self) -> web.StreamResponse:
        if self._response is None:
            self._response = await streaming(self._call)
        await self._response.write_eof()
        return self._response


async def create(call: Call) -> web.StreamResponse:
    """POST /images/create: pull (fromImage) or import (fromSrc)."""
    if name := call.text("fromImage"):
        return await _pull(call, name)
    source = call.text("fromSrc")
    if source == "-":
        return await _import(call)
    if source:
        raise NotSupported("importing from a URL is not supported yet: fetch it and import from -")
    raise InvalidArgument("one of fromImage and fromSrc is required")


async def _pull(call: Call, name: str) -> web.StreamResponse:
    await call.body()
    auth = registry_auth(call.request.headers.get("X-Registry-Auth", ""))
    request = pb.PullRequest(
        reference=join_reference(name, call.text("tag")),
        platform=call.text("platform"),
        auth=pb.RegistryAuth(
            username=auth.get("username", ""),
            password=auth.get("password", ""),
            server_address=auth.get("serveraddress", ""),
            identity_token=auth.get("identitytoken", ""),
            registry_token=auth.get("registrytoken", ""),
        ),
        # Without a tag Docker's API pulls all of them; the CLI always gives one.
        all_tags=not call.text("tag") and ":" not in name.rpartition("/")[2] and "@" not in name,
    )
    await store_there(call)
    output = Output(call)
    stream = call.peers.images.Pull(request)
    try:
        async for item in stream:
            if item.WhichOneof("step") == "progress":
                await output.send(progress(item.progress))
            else:
                await _prepare(call, item.image)
    except (SkerryError, grpc.aio.AioRpcError) as error:
        await output.fail(error)
    finally:
        stream.cancel()
    return await output.end()


async def store_there(call: Call) -> None:
    """Waits for an image store that is being restarted: a stream cannot be sent a second time. Raises Unavailable."""
    await call_again(lambda: call.peers.images.Info(pb.InfoRequest()), what="the image store")


async def _prepare(call: Call, image: pb.Image) -> None:
    """Lets the node make the layers mountable now, so that the first create does not wait for it. A failure is told at create."""
    request = containers_pb2.PrepareLayersRequest(layers=image.layers, image_store=call.peers.image_store)
    try:
        await call_again(lambda: call.peers.containers.PrepareLayers(request), patience=1, what="the container service")
    except (SkerryError, grpc.aio.AioRpcError) as error:
        _log.warning("layers not prepared", extra={"image": image.id, "error": str(error)})


async def _pieces(call: Call) -> AsyncIterator[bytes]:
    """Yields the body in pieces as they come; the connection's back-pressure is the stream's."""
    async for data in call.request.content.iter_any():
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]


async def _feed(call: Call, stream: Any, wrap: Any) -> None:
    """Sends the body as requests. An answer that comes before the end of the body is the reader's business."""
    try:
        async for piece in _pieces(call):
            await stream.write(wrap(piece))
        await stream.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass


async def _import(call: Call) -> web.StreamResponse:
    header = pb.ImportHeader(
        name=join_reference(call.text("repo"), call.text("tag")) if call.text("repo") else "",
        message=call.text("message"),
        changes=call.request.query.getall("changes", []),
        platform=call.text("platform"),
    )
    await store_there(call)
    output = Output(call)
    stream: Any = call.peers.images.Import()
    await stream.write(pb.ImportRequest(header=header))
    try:
        async with beside(_feed(call, stream, lambda piece: pb.ImportRequest(chunk=piece))):
            while (item := await stream.read()) is not grpc.aio.EOF:
                if item.WhichOneof("step") == "progress":
                    await output.send(progress(item.progress))
                else:
                    await _prepare(call, item.image)
                    await output.send({"status": item.image.id})
    except (SkerryError, grpc.aio.AioRpcError) as error:
        await output.fail(error)
    finally:
        stream.cancel()
    return await output.end()


async def load(call: Call) -> web.StreamResponse:
    """POST /images/load."""
    quiet = call.flag("quiet")
    await store_there(call)
    output = Output(call)
    stream: Any = call.peers.images.Load()
    try:
        async with beside(_feed(call, stream, lambda piece: pb.LoadRequest(chunk=piece))):
            while (item := await stream.read()) is not grpc.aio.EOF:
                if item.WhichOneof("step") == "progress":
                    if not quiet:
                        await output.send(progress(item.progress))
                    continue
                loaded = item.loaded
                await _prepare(call, loaded.image)
                for line in [f"Loaded image: {name}\n" for name in loaded.names] or [f"Loaded image ID: {loaded.image.id}\n"]:
                    await output.send({"stream": line})
    except (SkerryError, grpc.aio.AioRpcError) as error:
        await output.fail(error)
    finally:
        stream.cancel()
    return await output.end()


ROUTES: list[Route] = [
    ("POST", "/images/create", create),
    ("POST", "/images/load", load),
]
