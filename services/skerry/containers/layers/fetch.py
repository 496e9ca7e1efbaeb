"""Gets a layer's tar from an image store: a hard link to the store's file on the same machine, else its bytes, verified.

The bytes come from the store, or by an HTTP link from where the store keeps them (layers/link.py).
"""

import asyncio
import errno
import hashlib
import logging
import os
import stat
import threading
from typing import TypeAlias

import grpc
import grpc.aio

from skerry.api.images.v1 import images_pb2, images_pb2_grpc
from skerry.containers.layers import link
from skerry.core.errors import Failed, Unavailable
from skerry.core.rpc.channel import open_channel, translated
from skerry.core.rpc.tls import Tls

_ATTEMPTS = 6
_WRITE = 1 << 20
_SILENCE = 60.0
_LOG = logging.getLogger(__name__)
_Call: TypeAlias = "grpc.aio.UnaryStreamCall[images_pb2.FetchLayerRequest, images_pb2.FetchLayerResponse]"


async def fetch(address: str, tls: Tls | None, layer: images_pb2.Layer, target: str) -> None:
    """Makes target the uncompressed tar of layer.

    On the store's machine target is a hard link: the tar stays when the store deletes its blob, and costs nothing while it does not. On
    another file system it is a copy. Lost connections are taken up where they broke; a link that leads nowhere is given up for the
    store's own bytes. Raises Unavailable (the store is away), NotFound, Failed (the content is not what its digest says).
    """
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: ASYNC230 - not a disk
        boot_id = file.read().strip()
    download = _Download(target)
    accepts, pause = list(link.ACCEPTS), 0.1
    try:
        async with open_channel(address, tls) as channel:
            stub = images_pb2_grpc.ImagesServiceStub(channel)
            for attempt in range(1, _ATTEMPTS + 1):
                request = images_pb2.FetchLayerRequest(
                    diff_id=layer.diff_id, boot_id=boot_id, offset=download.written, accepts=[] if download.written else accepts
                )
                try:
                    answer = await _receive(stub.FetchLayer(request), download)
                    if answer is not None and answer.WhichOneof("content") == "link":
                        await _follow(layer, answer.link, download)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == _ATTEMPTS:
                        raise known_error(error, address) from error
                    await asyncio.sleep(pause)
                    pause *= 2
                    continue
                except link.LinkBroken as error:
                    _LOG.warning("layer %s comes through the image store, the link to it does not work: %s", layer.diff_id, error)
                    accepts = []
                    continue
                except TimeoutError:
                    raise Unavailable(f"the image store at {address} stopped sending layer {layer.diff_id}") from None
                if answer is not None and answer.path:
                    await asyncio.to_thread(_adopt, answer.path, layer, target)
                else:
                    await asyncio.to_thread(download.finish, layer.diff_id)
                return
            raise Unavailable(f"the image store at {address} gives only broken links to layer {layer.diff_id}")
    finally:
        download.close()


async def _follow(layer: images_pb2.Layer, where: images_pb2.LayerLink, download: "_Download") -> None:
    """Downloads by link, on a thread. Raises LinkBroken; what was written until then is good: plain bytes go on behind it."""
    stop = threading.Event()
    running = asyncio.get_running_loop().run_in_executor(None, link.download, layer, where, download, stop)
    try:
        await asyncio.shield(running)
    finally:
        # The thread writes to a file that is closed next.
        stop.set()
        await asyncio.wait({running})
        running.exception()  # seen: of a fetch that was cancelled nobody else asks


def known_error(error: grpc.aio.AioRpcError, address: str) -> Exception:
    """Returns what an image store's failure is to a caller: what it raised, Unavailable when it could not be reached, else the error."""
    known = translated(error)
    if known is error and error.code() is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(f"the image store at {address} is not reachable: {error.details()}")
    return known


async def _receive(call: "_Call", download: "_Download") -> images_pb2.FetchLayerResponse | None:
    """Writes chunks as they come; returns the answer instead when that is a path or a link."""
    pending: list[bytes] = []
    size = 0
    while True:
        async with asyncio.timeout(_SILENCE):
            response = await call.read()
        if not isinstance(response, images_pb2.FetchLayerResponse):
            break  # the stream's end
        if response.WhichOneof("content") in ("path", "link"):
            return response
        pending.append(response.chunk)
        size += len(response.chunk)
        if size >= _WRITE:
            await asyncio.to_thread(download.write, b"".join(pending))
            pending, size = [], 0
    await asyncio.to_thread(download.write, b"".join(pending))
    return None


class _Download:
    """A file that grows and is hashed meanwhile."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._fd = -1
        self._hash = hashlib.sha256()
        self.written = 0

    def write(self, data: bytes) -> None:
        if self._fd < 0:
            self._fd = os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._hash.update(data)
        view = memoryview(data)
        while view:
            done = os.write(self._fd, view)
            view = view[done:]
        self.written += len(data)

    def finish(self, diff_id: str) -> None:
        """Makes the file durable. Raises Failed when it is not what was asked for."""
        found = f"sha256:{self._hash.hexdigest()}"
        if found != diff_id:
            raise Failed(f"invalid diffID for layer: expected {diff_id!r}, got {found!r}")
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _adopt(path: str, layer: images_pb2.Layer, target: str) -> None:
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or (layer.size and status.st_size != layer.size):
            raise Failed(f"the image store's file of layer {layer.diff_id} is damaged: {status.st_size} bytes, {layer.size} expected")
        # The store wrote the file under its verified digest and never changes it; it is not read again.
        os.link(path, target, follow_symlinks=False)
        return
    except FileNotFoundError:
        raise Unavailable(f"the image store's file of layer {layer.diff_id} is gone") from None
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
    copy = _Download(target)
    try:
        with open(path, "rb") as file:
            while data := file.read(_WRITE):
                copy.write(data)
        copy.write(b"")
        copy.finish(layer.diff_id)
    finally:
        copy.close()
