"""Gives an image store a layer that was made here: written straight into the store's file on the same machine, else sent in pieces."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
import grpc.aio

from skerry.api.images.v1 import images_pb2, images_pb2_grpc
from skerry.containers.layers.fetch import known_error
from skerry.core.errors import Failed, Unavailable
from skerry.core.rpc.channel import open_channel
from skerry.core.rpc.tls import Tls

_PIECE = 1 << 20
# For the first answer and each piece; the last answer comes after the store has read and synced everything.
_SILENCE = 60.0
_BYTES_PER_SECOND = 10 << 20
_Call: TypeAlias = "grpc.aio.StreamStreamCall[images_pb2.StoreLayerRequest, images_pb2.StoreLayerResponse]"


class Upload:
    """One layer under way. The tar is to be written at `target`, an empty file; then `finish`."""

    def __init__(self, call: "_Call", address: str, target: str, own: str) -> None:
        self._call = call
        self._address = address
        self.target = target
        self._own = own

    async def link(self) -> None:
        """Makes the node's own copy of what was written, costing nothing where store and node share a file system."""
        if self.target != self._own:
            await asyncio.to_thread(_link, self.target, self._own)

    async def finish(self, size: int) -> images_pb2.Layer:
        """Hands the written tar of that size over; returns the layer as the store has it now. Raises Unavailable, Failed."""
        diff_id = ""
        if self.target == self._own:
            diff_id = await self._send()
        await self._write(images_pb2.StoreLayerRequest(done=images_pb2.LayerDone(diff_id=diff_id)))
        await self._call.done_writing()
        answer = await _answer(self._call, self._address, _SILENCE + size / _BYTES_PER_SECOND)
        if answer.WhichOneof("step") != "layer" or (diff_id and answer.layer.diff_id != diff_id):
            raise Failed(f"the image store at {self._address} took another layer than it was given")
        return answer.layer

    async def _send(self) -> str:
        digest = hashlib.sha256()

        def piece() -> bytes:
            data = file.read(_PIECE)
            digest.update(data)
            return data

        file = await asyncio.to_thread(open, self._own, "rb")
        try:
            await asyncio.to_thread(os.fdatasync, file.fileno())
            while data := await asyncio.to_thread(piece):
                await self._write(images_pb2.StoreLayerRequest(chunk=data))
        finally:
            file.close()
        return f"sha256:{digest.hexdigest()}"

    async def _write(self, request: images_pb2.StoreLayerRequest) -> None:
        try:
            async with asyncio.timeout(_SILENCE):
                await self._call.write(request)
        except asyncio.InvalidStateError:
            # The call has ended: its answer says why.
            await _answer(self._call, self._address, _SILENCE)
            raise Unavailable(f"the image store at {self._address} ended an upload") from None
        except grpc.aio.AioRpcError as error:
            raise known_error(error, self._address) from error
        except TimeoutError:
            raise Unavailable(f"the image store at {self._address} stopped reading a layer") from None


@asynccontextmanager
async def upload(address: str, tls: Tls | None, holder: str, own: str) -> AsyncIterator[Upload]:
    """Begins an upload for a holder; own is where the node's own copy shall be. Left before `finish`, nothing is left in the store.

    Raises Unavailable, InvalidArgument.
    """
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: ASYNC230 - not a disk
        boot_id = file.read().strip()
    async with open_channel(address, tls) as channel:
        call = images_pb2_grpc.ImagesServiceStub(channel).StoreLayer()
        try:
            one = Upload(call, address, own, own)
            await one._write(images_pb2.StoreLayerRequest(open=images_pb2.OpenLayer(boot_id=boot_id, holder=holder)))
            answer = await _answer(call, address, _SILENCE)
            if answer.WhichOneof("step") != "opened":
                raise Failed(f"the image store at {address} does not say where a layer shall go")
            one.target = answer.opened.path or own
            if one.target == own:
                os.close(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            yield one
        finally:
            call.cancel()


async def _answer(call: "_Call", address: str, patience: float) -> images_pb2.StoreLayerResponse:
    try:
        async with asyncio.timeout(patience):
            answer = await call.read()
    except grpc.aio.AioRpcError as error:
        raise known_error(error, address) from error
    except TimeoutError:
        raise Unavailable(f"the image store at {address} does not answer") from None
    if not isinstance(answer, images_pb2.StoreLayerResponse):
        raise Unavailable(f"the image store at {address} ended an upload")
    return answer


def _link(source: str, own: str) -> None:
    try:
        os.link(source, own, follow_symlinks=False)
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
    with open(source, "rb") as file, open(own, "xb") as copy:
        while os.sendfile(copy.fileno(), file.fileno(), None, 1 << 30):
            pass
        os.fdatasync(copy.fileno())
