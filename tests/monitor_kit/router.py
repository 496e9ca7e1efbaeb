"""A small LogsService: python -m monitor_kit.router ADDRESS DIRECTORY. A container's file is an exact copy of its spool's stream.

Dies by kill -9 like any service; a half written frame is cut off at the next Open. DIRECTORY/refuse makes it refuse.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.api.logs.v1.logs_pb2_grpc import LogsServiceServicer, add_LogsServiceServicer_to_server
from skerry.containers.monitor import frames
from skerry.core.rpc.server import serving


class Router(LogsServiceServicer):
    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._files: dict[str, int] = {}

    async def Ship(self, request_iterator: AsyncIterator[pb.ShipRequest], context: Any) -> AsyncIterator[pb.ShipResponse]:
        async for request in request_iterator:
            identity = request.open.container_id or request.batch.container_id
            if os.path.exists(f"{self._directory}/refuse"):
                yield pb.ShipResponse(refused=pb.Refused(container_id=identity, reason="told to"))
            elif request.HasField("open"):
                yield pb.ShipResponse(opened=pb.Opened(container_id=identity, offset=self._open(identity)))
            else:
                fd = self._files[identity]
                end = os.fstat(fd).st_size
                assert request.batch.offset <= end, "a gap"
                os.pwrite(fd, request.batch.frames[end - request.batch.offset :], end)
                yield pb.ShipResponse(ack=pb.Ack(container_id=identity, offset=os.fstat(fd).st_size))

    def _open(self, identity: str) -> int:
        fd = os.open(f"{self._directory}/{identity}", os.O_RDWR | os.O_CREAT, 0o600)
        end = frames.scan(fd).end
        os.ftruncate(fd, end)
        self._files[identity] = fd
        return end


async def main(address: str, directory: str) -> None:
    async with serving(address, [partial(add_LogsServiceServicer_to_server, Router(directory))], []):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
