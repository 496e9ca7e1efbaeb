"""Stats and Update on the wire: when samples are taken, and what is sent of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1.containers_pb2_grpc import ContainersServiceServicer
from skerry.containers.container import Container
from skerry.containers.node import Node
from skerry.containers.state import Phase
from skerry.containers.stats import Source, sample
from skerry.containers.update import update
from skerry.core.errors import NotFound

_PERIOD = 1.0


class StatsCalls(ContainersServiceServicer):
    """Part of ContainersService: Stats, Update."""

    _node: Node
    _stopping: asyncio.Event

    async def Stats(self, request: pb.StatsRequest, context: Any) -> AsyncIterator[pb.StatsResponse]:
        container = self._node.find(request.container)
        response = await _sample(container)
        if not request.stream:
            if not request.one_shot and response.read_ns and not await self._pause(_PERIOD):
                response = _after(response, await _sample(container))
            yield response
            return
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            yield response
            # A reader that is too slow gets fewer samples, not old ones.
            due = max(due + _PERIOD, loop.time())
            if await self._pause(due - loop.time()) or not self._known(container):
                return
            response = _after(response, await _sample(container))

    async def Update(self, request: pb.UpdateRequest, context: Any) -> pb.UpdateResponse:
        return pb.UpdateResponse(warnings=await update(self._node.find(request.container), request))

    async def _pause(self, seconds: float) -> bool:
        """Returns True when the service stops meanwhile."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _known(self, container: Container) -> bool:
        try:
            return self._node.find(container.id) is container
        except NotFound:
            return False


async def _sample(container: Container) -> pb.StatsResponse:
    found = await asyncio.to_thread(sample, _source(container)) if container.state.phase in (Phase.RUNNING, Phase.PAUSED) else None
    response = found or pb.StatsResponse(cgroup_v1=container.environment.host.cgroup_version == 1)
    response.id, response.name = container.id, container.record.name
    return response


def _source(container: Container) -> Source:
    # A container in the host's network has no counters of its own.
    own = bool(container.record.sandbox_message().netns_path)
    return Source(
        cgroup=container.cgroup,
        version=container.environment.host.cgroup_version,
        pid=container.state.pid if own else 0,
    )


def _after(before: pb.StatsResponse, response: pb.StatsResponse) -> pb.StatsResponse:
    if before.read_ns and response.read_ns:
        response.preread_ns = before.read_ns
        response.precpu.CopyFrom(before.cpu)
    return response
