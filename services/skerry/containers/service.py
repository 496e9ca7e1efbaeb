"""ContainersService on the wire: translation only."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers import stop, wait
from skerry.containers.attach import attach
from skerry.containers.commit_calls import CommitCalls
from skerry.containers.copy_calls import CopyCalls
from skerry.containers.events import prune_event
from skerry.containers.info import info
from skerry.containers.lines import LineOptions, read_lines
from skerry.containers.node import Node
from skerry.containers.spool import spool_range
from skerry.containers.stats_calls import StatsCalls
from skerry.containers.top import top
from skerry.core.errors import Conflict, InvalidArgument


class ContainersService(CommitCalls, CopyCalls, StatsCalls):
    """See containers.proto."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._stopping = node.environment.stopping

    async def Create(self, request: pb.CreateRequest, context: Any) -> pb.CreateResponse:
        container, warnings = await self._node.create(request)
        return pb.CreateResponse(container=container.message(), warnings=warnings)

    async def Start(self, request: pb.StartRequest, context: Any) -> pb.StartResponse:
        return pb.StartResponse(container=(await self._node.start(request)).message())

    async def Stop(self, request: pb.StopRequest, context: Any) -> pb.StopResponse:
        timeout = request.timeout_seconds if request.HasField("timeout_seconds") else None
        await stop.stop(self._node.find(request.id), timeout, request.signal, by_restart=request.restarting)
        return pb.StopResponse()

    async def Kill(self, request: pb.KillRequest, context: Any) -> pb.KillResponse:
        await stop.kill(self._node.find(request.id), request.id, request.signal)
        return pb.KillResponse()

    async def Pause(self, request: pb.PauseRequest, context: Any) -> pb.PauseResponse:
        await stop.pause(self._node.find(request.id))
        return pb.PauseResponse()

    async def Unpause(self, request: pb.UnpauseRequest, context: Any) -> pb.UnpauseResponse:
        await stop.unpause(self._node.find(request.id))
        return pb.UnpauseResponse()

    async def Rename(self, request: pb.RenameRequest, context: Any) -> pb.RenameResponse:
        container, old = await self._node.rename(request.id, request.name)
        return pb.RenameResponse(id=container.id, old_name=old, new_name=container.record.name)

    async def Remove(self, request: pb.RemoveRequest, context: Any) -> pb.RemoveResponse:
        return pb.RemoveResponse(id=await self._node.remove(request.id, force=request.force, volumes=request.volumes))

    async def RecordPrune(self, request: pb.RecordPruneRequest, context: Any) -> pb.RecordPruneResponse:
        await self._node.environment.journal.publish(prune_event(request.reclaimed))
        return pb.RecordPruneResponse()

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        return pb.GetResponse(container=await self._node.message(self._node.find(request.container), size=request.size))

    async def List(self, request: pb.ListRequest, context: Any) -> AsyncIterator[pb.ListResponse]:
        for container in list(self._node):
            yield pb.ListResponse(container=await self._node.message(container, size=request.size))

    async def Wait(self, request: pb.WaitRequest, context: Any) -> AsyncIterator[pb.WaitResponse]:
        removed = self._node.removed(request.id) if request.condition == pb.WAIT_CONDITION_REMOVED else None
        if removed is not None:
            yield pb.WaitResponse(registered=pb.Registered(run=removed.run))
            yield pb.WaitResponse(exited=pb.Exited(run=removed.run, exit_code=removed.code))
            return
        container = self._node.find(request.id)
        after = request.after_run if request.HasField("after_run") else None
        async for response in wait.responses(container.waiters, request.condition, container.state, after, self._stopping):
            yield response

    async def Attach(self, request_iterator: AsyncIterator[pb.AttachRequest], context: Any) -> AsyncIterator[pb.AttachResponse]:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "open":
            raise InvalidArgument("the first message of Attach is open")
        container = self._node.find(first.open.id)
        async for response in attach(container, first.open.id, first.open, request_iterator):
            yield response

    async def Resize(self, request: pb.ResizeRequest, context: Any) -> pb.ResizeResponse:
        container = self._node.find(request.id)
        if not container.state.active or container.monitor is None:
            raise Conflict(f"Container {container.id} is not running")
        await container.monitor.resize(request.height, request.width)
        await container.publish("resize", {"height": str(request.height), "width": str(request.width)})
        return pb.ResizeResponse()

    async def Top(self, request: pb.TopRequest, context: Any) -> pb.TopResponse:
        return await top(self._node.find(request.id), request.ps_args)

    async def PrepareLayers(self, request: pb.PrepareLayersRequest, context: Any) -> pb.PrepareLayersResponse:
        environment = self._node.environment
        await environment.layers.ensure(request.layers, request.image_store or environment.image_store)
        return pb.PrepareLayersResponse()

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        async for response in self._node.settlement.watch(self._node.unsettled(), self._stopping):
            yield response

    async def Settle(self, request: pb.SettleRequest, context: Any) -> pb.SettleResponse:
        await self._node.settle(request.id, request.run)
        return pb.SettleResponse()

    async def GetSpool(self, request: pb.GetSpoolRequest, context: Any) -> pb.GetSpoolResponse:
        span = await spool_range(self._node.find(request.id).spool)
        return pb.GetSpoolResponse(end_offset=span.end, first_offset=span.first)

    async def ReadSpool(self, request: pb.ReadSpoolRequest, context: Any) -> AsyncIterator[pb.ReadSpoolResponse]:
        container = self._node.find(request.id)
        options = LineOptions(
            stdout=request.stdout,
            stderr=request.stderr,
            since_ns=request.since_ns,
            until_ns=request.until_ns,
            tail=request.tail if request.HasField("tail") else None,
            timestamps=request.timestamps,
            follow=request.follow and container.state.active,
            multiplexed=request.multiplexed,
            until_run=container.state.run,
        )
        async for data in read_lines(container.spool, options):
            yield pb.ReadSpoolResponse(data=data)

    async def Subscribe(self, request: pb.SubscribeRequest, context: Any) -> AsyncIterator[pb.SubscribeResponse]:
        async for item in self._node.environment.journal.subscribe(request.subscription, self._stopping):
            yield pb.SubscribeResponse(item=item)

    async def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoResponse:
        return await asyncio.to_thread(info, self._node, await self._node.environment.volume_drivers.names())
