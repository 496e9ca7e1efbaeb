"""The calls about a container's changes, on the wire: translation only."""

from collections.abc import AsyncIterator
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1.containers_pb2_grpc import ContainersServiceServicer
from skerry.containers import commit
from skerry.containers.layers.diff import Kind
from skerry.containers.node import Node

_KINDS = {
    Kind.MODIFIED: pb.Change.KIND_MODIFIED,
    Kind.ADDED: pb.Change.KIND_ADDED,
    Kind.DELETED: pb.Change.KIND_DELETED,
}
_BATCH = 1000


class CommitCalls(ContainersServiceServicer):
    """Part of ContainersService: Diff, CommitLayer, RecordCommit, Export."""

    _node: Node

    async def Diff(self, request: pb.DiffRequest, context: Any) -> AsyncIterator[pb.DiffResponse]:
        batch: list[pb.Change] = []
        async for path, kind in commit.changes(self._node.find(request.container)):
            batch.append(pb.Change(path=path, kind=_KINDS[kind]))
            if len(batch) == _BATCH:
                yield pb.DiffResponse(changes=batch)
                batch = []
        yield pb.DiffResponse(changes=batch)

    async def CommitLayer(self, request: pb.CommitLayerRequest, context: Any) -> pb.CommitLayerResponse:
        container = self._node.find(request.container)
        store = request.image_store or self._node.environment.image_store
        layer = await commit.commit_layer(container, store, request.holder, pause=request.pause)
        return pb.CommitLayerResponse(layer=layer)

    async def RecordCommit(self, request: pb.RecordCommitRequest, context: Any) -> pb.RecordCommitResponse:
        container = self._node.find(request.container)
        await container.publish("commit", {"comment": request.comment, "imageID": request.image_id, "imageRef": request.image_name})
        return pb.RecordCommitResponse()

    async def Export(self, request: pb.ExportRequest, context: Any) -> AsyncIterator[pb.ExportResponse]:
        container = self._node.find(request.container)
        if request.boot_id == container.environment.boot_id:
            async for path in commit.export_by_path(container):
                yield pb.ExportResponse(path=path)
            return
        async for piece in commit.export(container):
            yield pb.ExportResponse(chunk=piece)
