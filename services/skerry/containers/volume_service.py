"""VolumesService on the wire: translation only."""

from collections.abc import AsyncIterator
from typing import Any

from skerry.api.containers.v1 import volumes_pb2 as pb
from skerry.api.containers.v1.volumes_pb2_grpc import VolumesServiceServicer
from skerry.containers.volumes import Volumes


class VolumesService(VolumesServiceServicer):
    """See volumes.proto."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    async def CreateVolume(self, request: pb.CreateVolumeRequest, context: Any) -> pb.CreateVolumeResponse:
        volume = await self._volumes.create(request.name, request.driver, dict(request.options), dict(request.labels))
        return pb.CreateVolumeResponse(volume=volume)

    async def GetVolume(self, request: pb.GetVolumeRequest, context: Any) -> pb.GetVolumeResponse:
        return pb.GetVolumeResponse(volume=await self._volumes.get(request.name))

    async def ListVolumes(self, request: pb.ListVolumesRequest, context: Any) -> AsyncIterator[pb.ListVolumesResponse]:
        volumes, warnings = await self._volumes.all()
        for volume in volumes:
            if request.size:
                volume.size = await self._volumes.size(volume.name)
            yield pb.ListVolumesResponse(volume=volume)
        for warning in warnings:
            yield pb.ListVolumesResponse(warning=warning)

    async def RemoveVolume(self, request: pb.RemoveVolumeRequest, context: Any) -> pb.RemoveVolumeResponse:
        await self._volumes.remove(request.name, force=request.force)
        return pb.RemoveVolumeResponse()

    async def PruneVolumes(self, request: pb.PruneVolumesRequest, context: Any) -> pb.PruneVolumesResponse:
        names, reclaimed = await self._volumes.prune(request.names)
        return pb.PruneVolumesResponse(names=names, reclaimed=reclaimed)
