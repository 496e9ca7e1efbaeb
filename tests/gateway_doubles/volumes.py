"""Volumes of the node's double: names only."""

from collections.abc import AsyncIterator
from typing import Any

from skerry.api.containers.v1 import volumes_pb2 as pb
from skerry.api.containers.v1.volumes_pb2_grpc import VolumesServiceServicer
from skerry.core.errors import NotFound


class Volumes(VolumesServiceServicer):
    def __init__(self) -> None:
        self.known: dict[str, pb.Volume] = {}

    async def CreateVolume(self, request: pb.CreateVolumeRequest, context: Any) -> pb.CreateVolumeResponse:
        made = pb.Volume(name=request.name or "a" * 64, driver="local", labels=request.labels, anonymous=not request.name, created_ns=1)
        return pb.CreateVolumeResponse(volume=self.known.setdefault(made.name, made))

    async def GetVolume(self, request: pb.GetVolumeRequest, context: Any) -> pb.GetVolumeResponse:
        if request.name not in self.known:
            raise NotFound(f"get {request.name}: no such volume")
        return pb.GetVolumeResponse(volume=self.known[request.name])

    async def ListVolumes(self, request: pb.ListVolumesRequest, context: Any) -> AsyncIterator[pb.ListVolumesResponse]:
        for volume in self.known.values():
            yield pb.ListVolumesResponse(volume=volume)

    async def RemoveVolume(self, request: pb.RemoveVolumeRequest, context: Any) -> pb.RemoveVolumeResponse:
        self.known.pop(request.name, None)
        return pb.RemoveVolumeResponse()

    async def PruneVolumes(self, request: pb.PruneVolumesRequest, context: Any) -> pb.PruneVolumesResponse:
        for name in request.names:
            del self.known[name]
        return pb.PruneVolumesResponse(names=request.names)
