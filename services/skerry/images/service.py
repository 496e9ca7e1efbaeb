"""ImagesService on the wire: translation, and progress between the intake and the stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skerry.api.events.v1 import events_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.journal import EventJournal
from skerry.images import library, removing
from skerry.images.blobs import Blobs
from skerry.images.cache_calls import CacheCalls
from skerry.images.catalog import Catalog
from skerry.images.check_calls import CheckCalls
from skerry.images.collector import Collector
from skerry.images.commit import Commits
from skerry.images.commit_calls import CommitCalls
from skerry.images.intake import Intake
from skerry.images.intake_calls import IntakeCalls
from skerry.images.list_calls import ListCalls
from skerry.images.origins import Origins
from skerry.images.pull import Pulls
from skerry.images.reference import is_digest
from skerry.images.registry_calls import RegistryCalls
from skerry.images.save_calls import SaveCalls
from skerry.images.steps import with_progress
from skerry.images.usage_calls import UsageCalls

NAME = "skerry.api.images.v1.ImagesService"
_CHUNK = 256 << 10
_MAX_HOLDER = 1000
_MAX_ASKED = 10_000


class ImagesService(IntakeCalls, ListCalls, CacheCalls, SaveCalls, UsageCalls, CheckCalls, CommitCalls, RegistryCalls):
    """One image store."""

    def __init__(
        self,
        catalog: Catalog,
        journal: EventJournal,
        blobs: Blobs,
        pulls: Pulls,
        intake: Intake,
        commits: Commits,
        collector: Collector,
        boot_id: str,
        stopping: asyncio.Event,
    ) -> None:
        self._catalog = catalog
        self.origins = Origins(catalog, blobs)
        self._journal = journal
        self._blobs = blobs
        self._intake = intake
        self._commits = commits
        self._pulls = pulls
        self._collector = collector
        self._boot_id = boot_id
        self._stopping = stopping

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        entry, _ = await library.find(self._catalog, request.image)
        image = library.to_proto(entry)
        if request.origin:
            await self.origins.add(image, entry)
        return pb.GetResponse(image=image)

    async def Tag(self, request: pb.TagRequest, context: Any) -> pb.TagResponse:
        await library.tag(self._catalog, request.image, request.target)
        return pb.TagResponse()

    async def Remove(self, request: pb.RemoveRequest, context: Any) -> pb.RemoveResponse:
        removals = await removing.remove(self._catalog, request)
        self._collector.soon()
        return pb.RemoveResponse(removals=removals)

    async def Prune(self, request: pb.PruneRequest, context: Any) -> pb.PruneResponse:
        removals, logical = await removing.prune(self._catalog, request)
        # While something is taken in the sweep waits for its end: then what will be free is told.
        freed = await self._collector.collect()
        reclaimed = logical if freed is None else freed
        said = events_pb2.Event(type="image", action="prune", attributes={"reclaimed": str(reclaimed)})
        await self._journal.publish(said)
        return pb.PruneResponse(removals=removals, space_reclaimed=reclaimed)

    async def Pull(self, request: pb.PullRequest, context: Any) -> AsyncIterator[pb.PullResponse]:
        async for step in with_progress(lambda tell: self._pulls.pull(request, tell)):
            if isinstance(step, list):
                for entry in step:
                    yield pb.PullResponse(image=library.to_proto(entry))
            elif isinstance(step, pb.Layer):
                yield pb.PullResponse(layer=step)
            else:
                yield pb.PullResponse(progress=step)

    async def AcquireLease(self, request: pb.AcquireLeaseRequest, context: Any) -> pb.AcquireLeaseResponse:
        if not request.holder:
            raise InvalidArgument("lease without a holder")
        if len(request.holder) > _MAX_HOLDER:
            raise InvalidArgument(f"lease holder is longer than {_MAX_HOLDER} characters")
        return pb.AcquireLeaseResponse(image=library.to_proto(await library.acquire(self._catalog, request.image, request.holder)))

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
        if request.offset > await asyncio.to_thread(self._blobs.size, request.diff_id):
            raise InvalidArgument(f"offset {request.offset} is behind the end of layer {request.diff_id}")
        if path and request.boot_id and request.boot_id == self._boot_id:
            yield pb.FetchLayerResponse(path=path)
            return
        link = await asyncio.to_thread(self._blobs.link, request.diff_id) if request.accepts else None
        if link is not None and link.compression in ("", *request.accepts):
            yield pb.FetchLayerResponse(link=pb.LayerLink(url=link.url, compression=link.compression, size=link.size))
            return
        opened = self._blobs.open(request.diff_id, request.offset)
        reader = await asyncio.to_thread(opened.__enter__)
        try:
            while data := await asyncio.to_thread(reader.read, _CHUNK):
                yield pb.FetchLayerResponse(chunk=data)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)

    async def UsedLayers(self, request: pb.UsedLayersRequest, context: Any) -> pb.UsedLayersResponse:
        if len(request.diff_ids) > _MAX_ASKED:
            raise InvalidArgument(f"more than {_MAX_ASKED} layers asked for")
        used = await self._catalog.blobs_in_use()
        return pb.UsedLayersResponse(diff_ids=[one for one in request.diff_ids if one in used])

    async def Subscribe(self, request: pb.SubscribeRequest, context: Any) -> AsyncIterator[pb.SubscribeResponse]:
        async for item in self._journal.subscribe(request.subscription, self._stopping):
            yield pb.SubscribeResponse(item=item)

    async def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoResponse:
        entries = await self._catalog.all()
        layers = {layer.diff_id: layer.shown for entry in entries for layer in entry.image.layers}
        return pb.InfoResponse(images=len(entries), layers_size=sum(layers.values()))
