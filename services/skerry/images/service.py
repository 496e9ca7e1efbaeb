"""ImagesService on the wire: translation, and progress between the intake and the stream."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from skerry.api.events.v1 import events_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceServicer
from skerry.core.errors import Failed, InvalidArgument, SkerryError
from skerry.core.journal import Journal
from skerry.core.lifecycle import Tasks
from skerry.images import library
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry
from skerry.images.intake import DRAIN_SECONDS, Intake, Tell, unwrapped
from skerry.images.reference import is_digest

NAME = "skerry.api.images.v1.ImagesService"
_CHUNK = 256 << 10
_PENDING = 1000
_log = logging.getLogger(__name__)


class ImagesService(ImagesServiceServicer):
    """One image store."""

    def __init__(
        self, catalog: Catalog, journal: Journal, blobs: Blobs, intake: Intake, tasks: Tasks, boot_id: str, stopping: asyncio.Event
    ) -> None:
        self._catalog = catalog
        self._journal = journal
        self._blobs = blobs
        self._intake = intake
        self._tasks = tasks
        self._boot_id = boot_id
        self._stopping = stopping

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        entry, _ = await library.find(self._catalog, request.image)
        return pb.GetResponse(image=library.to_proto(entry))

    async def List(self, request: pb.ListRequest, context: Any) -> AsyncIterator[pb.ListResponse]:
        wanted = await library.understand(self._catalog, request)
        for entry in await self._catalog.all():
            if (admitted := wanted.admits(entry)) is not None:
                yield pb.ListResponse(image=library.to_proto(admitted))

    async def Tag(self, request: pb.TagRequest, context: Any) -> pb.TagResponse:
        await library.tag(self._catalog, request.image, request.target)
        return pb.TagResponse()

    async def Remove(self, request: pb.RemoveRequest, context: Any) -> pb.RemoveResponse:
        removals = await library.remove(self._catalog, request)
        self._collect_soon()
        return pb.RemoveResponse(removals=removals)

    async def Prune(self, request: pb.PruneRequest, context: Any) -> pb.PruneResponse:
        removals: list[pb.Removal] = []
        for entry in await self._catalog.all():
            if entry.holders or (request.dangling and entry.names.tags) or not _prunable(entry, request):
                continue
            for name in [*entry.names.tags, entry.image.id]:
                target = library.familiar(name) if name != entry.image.id else name
                try:
                    removals += await library.remove(self._catalog, pb.RemoveRequest(image=target))
                except SkerryError:
                    break  # gone already, or leased a moment ago
        freed = await self._intake.collect()
        if removals:
            await self._journal.publish(events_pb2.Event(type="image", action="prune", actor_id="", attributes={"reclaimed": str(freed)}))
        return pb.PruneResponse(removals=removals, space_reclaimed=freed)

    async def Pull(self, request: pb.PullRequest, context: Any) -> AsyncIterator[pb.PullResponse]:
        async for step in _with_progress(lambda tell: self._intake.pull(request, tell)):
            if isinstance(step, Entry):
                yield pb.PullResponse(image=library.to_proto(step))
            else:
                yield pb.PullResponse(progress=step)

    async def Load(self, request_iterator: AsyncIterator[pb.LoadRequest], context: Any) -> AsyncIterator[pb.LoadResponse]:
        async def chunks() -> AsyncIterator[bytes]:
            async for request in request_iterator:
                yield request.chunk

        for entry, names in await _alone(self._intake.load(chunks())):
            yield pb.LoadResponse(loaded=pb.Loaded(image=library.to_proto(entry), names=names))

    async def Import(self, request_iterator: AsyncIterator[pb.ImportRequest], context: Any) -> AsyncIterator[pb.ImportResponse]:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgument("import: the first message must be the header")

        async def chunks() -> AsyncIterator[bytes]:
            async for request in request_iterator:
                yield request.chunk

        try:
            plan = self._intake.plan_import(first.header)
        except SkerryError:
            await _drained(request_iterator)
            raise
        entry = await _alone(self._intake.import_(plan, chunks()))
        yield pb.ImportResponse(image=library.to_proto(entry))

    async def AcquireLease(self, request: pb.AcquireLeaseRequest, context: Any) -> pb.AcquireLeaseResponse:
        if not request.holder:
            raise InvalidArgument("lease without a holder")
        entry, _ = await library.find(self._catalog, request.image)
        return pb.AcquireLeaseResponse(image=library.to_proto(await self._catalog.acquire(entry.image.id, request.holder)))

    async def ReleaseLease(self, request: pb.ReleaseLeaseRequest, context: Any) -> pb.ReleaseLeaseResponse:
        await self._catalog.release(request.holder)
        return pb.ReleaseLeaseResponse()

    async def ListLeases(self, request: pb.ListLeasesRequest, context: Any) -> AsyncIterator[pb.ListLeasesResponse]:
        image_id = (await library.find(self._catalog, request.image))[0].image.id if request.image else ""
        for image, holder in await self._catalog.leases(request.holder_prefix, image_id):
            yield pb.ListLeasesResponse(image_id=image, holder=holder)

    async def FetchLayer(self, request: pb.FetchLayerRequest, context: Any) -> AsyncIterator[pb.FetchLayerResponse]:
        if not is_digest(request.diff_id):
            raise InvalidArgument(f"invalid layer digest {request.diff_id[:100]!r}")
        path = await asyncio.to_thread(self._blobs.path, request.diff_id)
        if request.boot_id and request.boot_id == self._boot_id:
            yield pb.FetchLayerResponse(path=path)
            return
        file = await asyncio.to_thread(open, path, "rb")
        try:
            await asyncio.to_thread(file.seek, request.offset)
            while data := await asyncio.to_thread(file.read, _CHUNK):
                yield pb.FetchLayerResponse(chunk=data)
        finally:
            file.close()

    async def Subscribe(self, request: pb.SubscribeRequest, context: Any) -> AsyncIterator[pb.SubscribeResponse]:
        async for item in self._journal.subscribe(request.subscription, self._stopping):
            yield pb.SubscribeResponse(item=item)

    async def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoResponse:
        entries = await self._catalog.all()
        layers = {layer.diff_id: layer.size for entry in entries for layer in entry.image.layers}
        return pb.InfoResponse(images=len(entries), layers_size=sum(layers.values()))

    def _collect_soon(self) -> None:
        # The answer need not wait for unlinking gigabytes.
        _ = self._tasks.spawn(self._intake.collect(), "collect blobs")


def _prunable(entry: Entry, request: pb.PruneRequest) -> bool:
    if request.until_ns and entry.image.created_ns >= request.until_ns:
        return False
    if request.labels and not library.has_labels(entry, tuple(request.labels)):
        return False
    return not any(library.has_labels(entry, (label,)) for label in request.not_labels)


async def _alone(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except BaseExceptionGroup as group:
        raise unwrapped(group) from None


async def _drained(requests: AsyncIterator[Any]) -> None:
    """Reads an upload that is refused to its end: a client that still writes when the call ends loses the error (grpc.aio)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in requests:
                pass


async def _with_progress(work: Callable[[Tell], Awaitable[Entry]]) -> AsyncIterator[Any]:
    """Yields progress as it is told, then the entry. A reader that is too slow misses progress, never the end."""
    queue: asyncio.Queue[Any] = asyncio.Queue(_PENDING)

    def tell(progress: pb.Progress) -> None:
        if not queue.full():
            queue.put_nowait(progress)

    running = asyncio.ensure_future(_alone(work(tell)))
    wake = asyncio.ensure_future(queue.get())
    try:
        while True:
            await asyncio.wait({running, wake}, return_when=asyncio.FIRST_COMPLETED)
            while wake.done():
                yield wake.result()
                wake = asyncio.ensure_future(queue.get())
                await asyncio.sleep(0)
            if running.done() and queue.empty():
                yield running.result()
                return
    except OSError as error:
        raise Failed(f"image store: {error.strerror or error}") from error
    finally:
        wake.cancel()
        running.cancel()
        await asyncio.wait({running})
