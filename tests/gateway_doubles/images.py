"""The image store's double."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from gateway_doubles.events import Events
from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceServicer
from skerry.core.errors import Conflict, Failed, NotFound


def image(name: str) -> pb.Image:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "COPY / /", "comment": "made by hand"}],
    }
    text = json.dumps(config)
    return pb.Image(
        id="sha256:" + hashlib.sha256((text + name).encode()).hexdigest(),
        repo_tags=[name],
        created_ns=1767225600 * 10**9,
        architecture="amd64",
        os="linux",
        size=1000,
        layers=[pb.Layer(diff_id="sha256:" + "1" * 64, chain_id="sha256:" + "1" * 64, size=1000)],
        config=pb.ImageConfig(env=["PATH=/bin"], cmd=pb.StringList(values=["sh"]), labels={"a": "b"}),
        config_json=text,
    )


class Images(ImagesServiceServicer):
    def __init__(self) -> None:
        self.known: list[pb.Image] = [image("busybox:latest")]
        # Names that a registry has.
        self.remote = {"remote:latest", "broken:latest", "host:5000/team/app:1", "layered:latest"}
        self.leases: dict[str, str] = {}
        self.events = Events()
        self.received = 0
        # What Save stands for a layer with; empty: this store's files cannot be opened, bytes are sent.
        self.saved_file = ""
        self.save_breaks = False
        # Set: the rest of an image whose first layer was told may come.
        self.resume = asyncio.Event()
        self.imported: pb.ImportHeader | None = None

    def find(self, name: str) -> pb.Image:
        full = name.removeprefix("docker.io/library/")
        if "@" not in full and ":" not in full.rpartition("/")[2]:
            full += ":latest"
        for value in self.known:
            if full in value.repo_tags or value.id == name or value.id.removeprefix("sha256:").startswith(name):
                return value
        raise NotFound(f"No such image: {full}")

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        return pb.GetResponse(image=self.find(request.image))

    async def List(self, request: pb.ListRequest, context: Any) -> AsyncIterator[pb.ListResponse]:
        for value in self.known:
            yield pb.ListResponse(image=value)

    async def Tag(self, request: pb.TagRequest, context: Any) -> pb.TagResponse:
        self.find(request.image).repo_tags.append(request.target)
        return pb.TagResponse()

    async def Remove(self, request: pb.RemoveRequest, context: Any) -> pb.RemoveResponse:
        value = self.find(request.image)
        if value.id in self.leases.values() and not request.force:
            raise Conflict(f'conflict: unable to remove repository reference "{request.image}" (must force)')
        self.known.remove(value)
        return pb.RemoveResponse(removals=[pb.Removal(untagged=value.repo_tags[0]), pb.Removal(deleted=value.id)])

    async def Prune(self, request: pb.PruneRequest, context: Any) -> pb.PruneResponse:
        return pb.PruneResponse(space_reclaimed=0)

    async def Pull(self, request: pb.PullRequest, context: Any) -> AsyncIterator[pb.PullResponse]:
        name = request.reference.removeprefix("docker.io/library/")
        if name not in self.remote:
            raise NotFound(f"manifest for {name} not found: manifest unknown: manifest unknown")
        yield pb.PullResponse(progress=pb.Progress(id=name.rpartition(":")[2], status=f"Pulling from {name.rpartition(':')[0]}"))
        yield pb.PullResponse(progress=pb.Progress(id="111111111111", status="Downloading", current=500, total=1000))
        if name.startswith("broken"):
            raise Failed("unexpected EOF")
        if name.startswith("layered"):
            yield pb.PullResponse(layer=pb.Layer(diff_id="sha256:" + "1" * 64))
            await asyncio.wait_for(self.resume.wait(), 10)
        yield pb.PullResponse(progress=pb.Progress(id="111111111111", status="Pull complete"))
        yield pb.PullResponse(progress=pb.Progress(status=f"Status: Downloaded newer image for {name}"))
        value = image(name)
        self.known.append(value)
        self.events.add("image", "pull", name, name=name)
        yield pb.PullResponse(image=value)

    async def Load(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.LoadResponse]:
        async for request in request_iterator:
            if request.WhichOneof("part") == "open":
                yield pb.LoadResponse(opened=pb.UploadOpened())
            self.received += len(request.chunk)
        value = image("loaded:latest")
        self.known.append(value)
        yield pb.LoadResponse(progress=pb.Progress(id="111111111111", status="Loading layer", current=1000, total=1000))
        yield pb.LoadResponse(loaded=pb.Loaded(image=value, names=["loaded:latest"]))

    async def Import(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ImportResponse]:
        async for request in request_iterator:
            if request.WhichOneof("part") == "header":
                self.imported = request.header
                if request.header.boot_id:
                    yield pb.ImportResponse(opened=pb.UploadOpened())
            else:
                self.received += len(request.chunk)
        assert self.imported is not None
        value = image(self.imported.name or "imported:latest")
        self.known.append(value)
        yield pb.ImportResponse(image=value)

    async def AcquireLease(self, request: pb.AcquireLeaseRequest, context: Any) -> pb.AcquireLeaseResponse:
        value = self.find(request.image)
        self.leases[request.holder] = value.id
        return pb.AcquireLeaseResponse(image=value)

    async def ReleaseLease(self, request: pb.ReleaseLeaseRequest, context: Any) -> pb.ReleaseLeaseResponse:
        self.leases.pop(request.holder, None)
        return pb.ReleaseLeaseResponse()

    async def ListLeases(self, request: pb.ListLeasesRequest, context: Any) -> AsyncIterator[pb.ListLeasesResponse]:
        for holder, image_id in list(self.leases.items()):
            if holder.startswith(request.holder_prefix):
                yield pb.ListLeasesResponse(image_id=image_id, holder=holder)

    async def FetchLayer(self, request: pb.FetchLayerRequest, context: Any) -> AsyncIterator[pb.FetchLayerResponse]:
        yield pb.FetchLayerResponse(path="/dev/null")

    async def Subscribe(self, request: pb.SubscribeRequest, context: Any) -> AsyncIterator[pb.SubscribeResponse]:
        async for item in self.events.subscribe(request.subscription):
            yield pb.SubscribeResponse(item=item)

    async def Save(self, request: pb.SaveRequest, context: Any) -> AsyncIterator[pb.SaveResponse]:
        for name in request.images:
            self.find(name)
        if request.boot_id and not self.saved_file:
            # A store whose files are not the gateway's.
            yield pb.SaveResponse(begin=pb.SaveBegin(size=12))
            yield pb.SaveResponse(file=pb.FilePiece(path="/no/such/file", size=12))
            await asyncio.sleep(60)
        size = os.path.getsize(self.saved_file) if self.saved_file else 4
        yield pb.SaveResponse(begin=pb.SaveBegin(size=8 + size))
        yield pb.SaveResponse(chunk=b"head")
        if self.saved_file:
            yield pb.SaveResponse(file=pb.FilePiece(path=self.saved_file, size=size))
        else:
            yield pb.SaveResponse(chunk=b"body")
        if self.save_breaks:
            raise Failed("the disk is gone")
        yield pb.SaveResponse(chunk=b"tail")
        await asyncio.sleep(60)

    async def GetHistory(self, request: pb.GetHistoryRequest, context: Any) -> pb.GetHistoryResponse:
        value = self.find(request.image)
        item = pb.HistoryItem(id=value.id, created_ns=value.created_ns, created_by="COPY / /", size=value.size, tags=value.repo_tags)
        return pb.GetHistoryResponse(items=[item])

    async def DiskUsage(self, request: pb.DiskUsageRequest, context: Any) -> pb.DiskUsageResponse:
        return pb.DiskUsageResponse(images=[pb.ImageUsage(image=one, unique_size=one.size) for one in self.known], layers_size=1000)

    async def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoResponse:
        await asyncio.sleep(0)
        return pb.InfoResponse(images=len(self.known), layers_size=1000)
