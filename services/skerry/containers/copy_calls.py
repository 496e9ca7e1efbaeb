"""StatPath, GetArchive and PutArchive on the wire: translation only."""

import os
from collections.abc import AsyncIterator
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1.containers_pb2_grpc import ContainersServiceServicer
from skerry.containers.container import Container
from skerry.containers.copy.job import Job, Stat
from skerry.containers.copy.run import Copy, copying
from skerry.containers.node import Node
from skerry.core.errors import Failed, InvalidArgument
from skerry.core.rpc.pipe import PIPE

_MOST_MEMBERS = 1000


class CopyCalls(ContainersServiceServicer):
    """See containers.proto."""

    _node: Node

    async def StatPath(self, request: pb.StatPathRequest, context: Any) -> pb.StatPathResponse:
        container = self._node.find(request.container)
        async with copying(container, _job(container, "stat", request.container, request.path)) as copy:
            await copy.finish()
            return pb.StatPathResponse(stat=_stat(copy.head.stat))

    async def GetArchive(self, request: pb.GetArchiveRequest, context: Any) -> AsyncIterator[pb.GetArchiveResponse]:
        container = self._node.find(request.container)
        if len(request.members) > _MOST_MEMBERS:
            raise InvalidArgument(f"too many paths: at most {_MOST_MEMBERS}")
        job = _job(container, "get", request.container, request.path, members=tuple(request.members))
        async with copying(container, job) as copy:
            await container.publish("archive-path")
            yield pb.GetArchiveResponse(stat=_stat(copy.head.stat))
            while data := await copy.read():
                yield pb.GetArchiveResponse(chunk=data)
            await copy.finish()

    async def PutArchive(self, request_iterator: AsyncIterator[pb.PutArchiveRequest], context: Any) -> pb.PutArchiveResponse:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "open":
            raise InvalidArgument("the first message of PutArchive is open")
        opened = first.open
        container = self._node.find(opened.container)
        job = _job(
            container,
            "put",
            opened.container,
            opened.path,
            no_overwrite_dir_non_dir=opened.no_overwrite_dir_non_dir,
            create_path=opened.create_path,
            file_or_directory=opened.file_or_directory,
            owner=opened.chown or (container.spec.user if opened.copy_uid_gid else ""),
            mode=opened.chmod & 0o7777 if opened.HasField("chmod") else None,
            most_bytes=container.environment.copy_bytes,
        )
        here = opened.boot_id == container.environment.boot_id
        async with copying(container, job, named=here) as copy:
            if opened.boot_id:
                await context.send_initial_metadata(((PIPE, os.fsencode(copy.pipe)),) if here else ())
            await copy.take(_chunks(request_iterator, copy))
        await container.publish("extract-to-dir")
        return pb.PutArchiveResponse()


async def _chunks(requests: AsyncIterator[pb.PutArchiveRequest], copy: Copy) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") == "written":
            copy.moved(request.written)
        else:
            yield request.chunk


def _job(container: Container, operation: str, named: str, path: str, **more: Any) -> Job:
    if not path or "\0" in path:
        raise InvalidArgument("bad parameter: pathcannot be empty")
    spec = container.spec
    return Job(operation=operation, rootfs="", read_only=spec.readonly_rootfs, container=named, path=path, **more)


def _stat(stat: Stat | None) -> pb.PathStat:
    if stat is None:
        raise Failed("the copy did not describe its path")
    return pb.PathStat(name=stat.name, size=stat.size, mode=stat.mode, mtime_ns=stat.mtime_ns, link_target=stat.link_target)
