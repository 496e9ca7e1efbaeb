"""Docker's progress streams (JSON objects, CRLF), and what all that bring images share."""

import logging
from collections.abc import Sequence
from typing import Any

import grpc.aio
import msgspec
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import SkerryError
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import Call, streaming
from skerry.gateway.docker.images import failure
from skerry.gateway.errors import status_of

_log = logging.getLogger(__name__)


class Output:
    """A progress stream whose head goes out with the first object, so that an error before it has a status of its own."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._response: web.StreamResponse | None = None

    async def send(self, document: dict[str, Any]) -> None:
        """Sends one object."""
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
        """Ends the stream."""
        if self._response is None:
            self._response = await streaming(self._call)
        await self._response.write_eof()
        return self._response


async def store_there(call: Call) -> None:
    """Waits for an image store that is being restarted: a stream cannot be sent a second time. Raises Unavailable."""
    await call_again(lambda: call.peers.images.Info(pb.InfoRequest()), what="the image store")


async def prepare(call: Call, layers: Sequence[pb.Layer], whose: str) -> None:
    """Lets the node make the layers mountable now, so that the first create does not wait for it. A failure is told at create."""
    request = containers_pb2.PrepareLayersRequest(layers=layers, image_store=call.peers.image_store)
    try:
        await call_again(lambda: call.peers.containers.PrepareLayers(request), patience=1, what="the container service")
    except (SkerryError, grpc.aio.AioRpcError) as error:
        _log.warning("layers not prepared", extra={"image": whose, "error": str(error)})
