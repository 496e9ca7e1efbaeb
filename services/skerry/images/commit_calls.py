"""The calls that make images of layers, on the wire: translation, and who writes where."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceServicer
from skerry.core.errors import Failed, InvalidArgument, SkerryError
from skerry.images import library
from skerry.images.blobs import Blobs
from skerry.images.catalog import LayerRecord
from skerry.images.commit import Commits
from skerry.images.reference import is_digest
from skerry.images.streams import drained

_MAX_HOLDER = 1000
# A node on this machine that has not written its layer by then is given up: its container may be large, or paused by hand.
_WRITE_SECONDS = 6 * 3600.0


class CommitCalls(ImagesServiceServicer):
    """Part of ImagesService: StoreLayer, Commit."""

    _blobs: Blobs
    _commits: Commits
    _boot_id: str

    async def StoreLayer(self, request_iterator: AsyncIterator[pb.StoreLayerRequest], context: Any) -> AsyncIterator[pb.StoreLayerResponse]:
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "open":
            raise InvalidArgument("the first message of StoreLayer is open")
        if not 0 < len(first.open.holder) <= _MAX_HOLDER:
            raise InvalidArgument(f"a layer needs a holder of at most {_MAX_HOLDER} characters")
        async with self._commits.collector.taking():
            by_path = self._blobs.by_path() if first.open.boot_id == self._boot_id else None
            try:
                if by_path is None:
                    yield pb.StoreLayerResponse(opened=pb.LayerOpened())
                    layer = await self._sent(requests, first.open.holder)
                else:
                    with by_path as writer:
                        yield pb.StoreLayerResponse(opened=pb.LayerOpened(path=writer.path))
                        async with asyncio.timeout(_WRITE_SECONDS):
                            expected = _expected(await anext(requests, None))
                        layer = await self._commits.take_written(writer, expected, first.open.holder)
            except SkerryError:
                await drained(request_iterator)
                raise
            except TimeoutError:
                raise InvalidArgument(f"no layer was written within {_WRITE_SECONDS:g} s") from None
            except OSError as error:
                raise Failed(f"image store: {(error.strerror or str(error)).lower()}") from error
        yield pb.StoreLayerResponse(layer=pb.Layer(diff_id=layer.diff_id, size=layer.size))

    async def _sent(self, requests: AsyncIterator[pb.StoreLayerRequest], holder: str) -> LayerRecord:
        told: list[str] = []

        async def chunks() -> AsyncIterator[bytes]:
            async for request in requests:
                if request.WhichOneof("part") != "chunk":
                    told.append(_expected(request))
                    return
                yield request.chunk
            raise InvalidArgument("an upload ended before it was done")

        return await self._commits.take_sent(chunks(), lambda: told[0], holder)

    async def Commit(self, request: pb.CommitRequest, context: Any) -> pb.CommitResponse:
        if len(request.holder) > _MAX_HOLDER:
            raise InvalidArgument(f"lease holder is longer than {_MAX_HOLDER} characters")
        return pb.CommitResponse(image=library.to_proto(await self._commits.commit(request)))


def _expected(request: pb.StoreLayerRequest | None) -> str:
    """Returns what LayerDone says. Raises InvalidArgument for anything else."""
    if request is None or request.WhichOneof("part") != "done":
        raise InvalidArgument("an upload ended before it was done")
    if request.done.diff_id and not is_digest(request.done.diff_id):
        raise InvalidArgument(f"invalid layer digest {request.done.diff_id[:100]!r}")
    return request.done.diff_id
