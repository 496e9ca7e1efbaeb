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
        record = await self._volumes.create(request.name, request.driver, dict(request.options), dict(request.labels))
        return pb.CreateVolumeResponse(volume=self._volumes.message(record))

    async def GetVolume(self, request: pb.GetVolumeRequest, context: Any) -> pb.GetVolumeResponse:
        return pb.GetVolumeResponse(volume=self._volumes.message(self._volumes.get(request.name)))

    async def ListVolumes(self, request: pb.ListVolumesRequest, context: Any) -> AsyncIterator[pb.ListVolumesResponse]:
        for record in self._volumes.all():
            message = self._volumes.message(record)
            if request.size:
                message.size = await self._volumes.size(record.name)
            yield pb.ListVolumesResponse(volume=message)

    async def RemoveVolume(self, request: pb.RemoveVolumeRequest, context: Any) -> pb.RemoveVolumeResponse:
        await self._volumes.remove(request.name, force=request.force)
        return pb.RemoveVolumeResponse()

    async def PruneVolumes(self, request: pb.PruneVolumesRequest, context: Any) -> pb.PruneVolumesResponse:
        names, reclaimed = await self._volumes.prune(request.names)
        return pb.PruneVolumesResponse(names=names, reclaimed=reclaimed)
