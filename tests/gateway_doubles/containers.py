"""The node's double: containers whose processes are boxes.Process, settled as the real node does."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

from gateway_doubles.boxes import Box, Output, Process, output_message
from gateway_doubles.events import Events
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1.containers_pb2_grpc import ContainersServiceServicer
from skerry.api.images.v1 import images_pb2
from skerry.core.errors import Conflict, InvalidArgument, NotFound, NotModified
from skerry.core.lifecycle import Tasks

_RUNNING = {pb.STATUS_RUNNING, pb.STATUS_PAUSED}


class Containers(ContainersServiceServicer):
    def __init__(self, tasks: Tasks) -> None:
        self.boxes: dict[str, Box] = {}
        self.events = Events()
        self.requests: list[Any] = []
        self.prepared = 0
        self.prepared_layers: list[list[str]] = []
        self.resized: list[tuple[int, int]] = []
        self._tasks = tasks
        self._watchers: set[asyncio.Queue[pb.WatchResponse]] = set()

    def find(self, name: str) -> Box:
        name = name.removeprefix("/")
        for box in self.boxes.values():
            if box.record.name == name or (name and box.record.id.startswith(name)):
                return box
        raise NotFound(f"No such container: {name}")

    async def Create(self, request: pb.CreateRequest, context: Any) -> pb.CreateResponse:
        self.requests.append(request)
        if request.id in self.boxes:
            return pb.CreateResponse(container=self.boxes[request.id].record)
        name = request.name or f"quick_{request.id[:6]}"
        for other in self.boxes.values():
            if other.record.name == name:
                raise Conflict(
                    f'Conflict. The container name "/{name}" is already in use by container "{other.record.id}". '
                    "You have to remove (or rename) that container to be able to reuse that name."
                )
        spec = pb.ContainerSpec()
        spec.CopyFrom(request.spec)
        config = request.image.config
        if not spec.HasField("entrypoint") and not spec.HasField("cmd"):
            spec.cmd.CopyFrom(images_pb2.StringList(values=config.cmd.values))
        spec.env.extend(value for value in config.env if value.partition("=")[0] not in {v.partition("=")[0] for v in spec.env})
        for key, value in config.labels.items():
            spec.labels.setdefault(key, value)
        argv = [*spec.entrypoint.values, *spec.cmd.values]
        record = pb.Container(
            id=request.id,
            name=name,
            created_ns=time.time_ns(),
            image_id=request.image.id,
            image_name=request.image_name,
            spec=spec,
            state=pb.State(status=pb.STATUS_CREATED),
            path=argv[0],
            args=argv[1:],
            log=request.log,
            graph_driver_name="overlay2",
            docker_config_json=request.docker_config_json,
            docker_host_config_json=request.docker_host_config_json,
            docker_networking_config_json=request.docker_networking_config_json,
            runtime="runc",
        )
        self.boxes[request.id] = Box(record)
        self._event(record, "create")
        return pb.CreateResponse(container=record)

    def _event(self, record: pb.Container, action: str, **attributes: str) -> None:
        self.events.add("container", action, record.id, image=record.image_name, name=record.name, **dict(record.spec.labels), **attributes)

    async def Start(self, request: pb.StartRequest, context: Any) -> pb.StartResponse:
        self.requests.append(request)
        box = self.find(request.id)
        state = box.record.state
        if state.status in _RUNNING:
            if state.run == request.run:
                return pb.StartResponse(container=box.record)
            raise NotModified("already running")
        if box.record.path == "nosuch":
            state.exit_code, state.error = 127, 'exec: "nosuch": executable file not found in $PATH'
            raise InvalidArgument(
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
                'exec: "nosuch": executable file not found in $PATH: unknown'
            )
        if state.run:
            box.output.ended = False
        state.run = request.run
        state.status, state.pid, state.started_ns = pb.STATUS_RUNNING, 4242, time.time_ns()
        box.process = Process([box.record.path, *box.record.args], box.record.spec.tty, box.output)
        self._event(box.record, "start")
        _ = self._tasks.spawn(self._run(box, box.process, request.run), "process")
        return pb.StartResponse(container=box.record)

    async def _run(self, box: Box, process: Process, run: int) -> None:
        code = await process.run()
        state = box.record.state
        state.status, state.exit_code, state.pid, state.finished_ns = pb.STATUS_EXITED, code, 0, time.time_ns()
        box.output.end()
        ended = pb.WatchResponse(ended=self._ended(box))
        for queue in self._watchers:
            queue.put_nowait(ended)
        if not self._watchers:
            await asyncio.sleep(2)
            self._settled(box, run)

    def _ended(self, box: Box) -> pb.Ended:
        state = box.record.state
        return pb.Ended(id=box.record.id, run=state.run, exit_code=state.exit_code, auto_remove=box.record.spec.auto_remove)

    def _settled(self, box: Box, run: int) -> None:
        future = box.exit_of(run)
        if not future.done():
            box.record.state.settled_run = run
            self._event(box.record, "die", exitCode=str(box.record.state.exit_code))
            future.set_result(box.record.state.exit_code)

    async def Settle(self, request: pb.SettleRequest, context: Any) -> pb.SettleResponse:
        self._settled(self.find(request.id), request.run)
        return pb.SettleResponse()

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        queue: asyncio.Queue[pb.WatchResponse] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            for box in self.boxes.values():
                state = box.record.state
                if state.status == pb.STATUS_EXITED and state.settled_run < state.run:
                    yield pb.WatchResponse(ended=self._ended(box))
            yield pb.WatchResponse(live=pb.WatchLive())
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    def ask_for_sandbox(self, container_id: str) -> None:
        """As after a reboot."""
        for queue in self._watchers:
            queue.put_nowait(pb.WatchResponse(needs_sandbox=pb.NeedsSandbox(id=container_id, run=1)))

    async def _end(self, box: Box, code: int) -> None:
        assert box.process is not None
        run = box.record.state.run
        box.process.kill(code)
        await asyncio.shield(box.exit_of(run))

    async def Stop(self, request: pb.StopRequest, context: Any) -> pb.StopResponse:
        box = self.find(request.id)
        if box.record.state.status not in _RUNNING:
            raise NotModified("not running")
        await self._end(box, 143)
        if not request.restarting:
            self._event(box.record, "stop")
        return pb.StopResponse()

    async def Kill(self, request: pb.KillRequest, context: Any) -> pb.KillResponse:
        box = self.find(request.id)
        if box.process is None or box.record.state.status not in _RUNNING:
            raise Conflict(f"Cannot kill container: {request.id}: Container {box.record.id} is not running")
        self._event(box.record, "kill", signal="9")
        box.process.kill(137)
        return pb.KillResponse()

    async def Pause(self, request: pb.PauseRequest, context: Any) -> pb.PauseResponse:
        box = self.find(request.id)
        if box.record.state.status != pb.STATUS_RUNNING:
            raise Conflict(f"Container {box.record.id} is not running")
        box.record.state.status = pb.STATUS_PAUSED
        return pb.PauseResponse()

    async def Unpause(self, request: pb.UnpauseRequest, context: Any) -> pb.UnpauseResponse:
        self.find(request.id).record.state.status = pb.STATUS_RUNNING
        return pb.UnpauseResponse()

    async def Rename(self, request: pb.RenameRequest, context: Any) -> pb.RenameResponse:
        box = self.find(request.id)
        old, box.record.name = box.record.name, request.name
        return pb.RenameResponse(id=box.record.id, old_name=old, new_name=request.name)

    async def Remove(self, request: pb.RemoveRequest, context: Any) -> pb.RemoveResponse:
        box = self.find(request.id)
        if box.record.state.status in _RUNNING:
            if not request.force:
                raise Conflict(
                    f"You cannot remove a running container {box.record.id}. Stop the container before attempting removal or force remove"
                )
            await self._end(box, 137)
        self.boxes.pop(box.record.id, None)
        self._event(box.record, "destroy")
        if not box.removed.done():
            box.removed.set_result(box.record.state.exit_code)
        return pb.RemoveResponse(id=box.record.id)

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        record = self.find(request.container).record
        if request.size:
            record.size_rw, record.size_root_fs = 1, 1001
        return pb.GetResponse(container=record)

    async def List(self, request: pb.ListRequest, context: Any) -> AsyncIterator[pb.ListResponse]:
        for box in sorted(self.boxes.values(), key=lambda box: -box.record.created_ns):
            yield pb.ListResponse(container=box.record)

    async def Wait(self, request: pb.WaitRequest, context: Any) -> AsyncIterator[pb.WaitResponse]:
        box = self.find(request.id)
        run = box.record.state.run
        yield pb.WaitResponse(registered=pb.Registered(run=run))
        running = box.record.state.status in _RUNNING or (run and box.record.state.settled_run < run)
        if request.condition == pb.WAIT_CONDITION_REMOVED:
            code = await asyncio.shield(box.removed)
        elif request.HasField("after_run") and request.after_run < run:
            code = await asyncio.shield(box.exit_of(request.after_run + 1))
        elif request.condition == pb.WAIT_CONDITION_NEXT_EXIT:
            code = await asyncio.shield(box.exit_of(run if running else run + 1))
        elif running:
            code = await asyncio.shield(box.exit_of(run))
        else:
            code = box.record.state.exit_code
        yield pb.WaitResponse(exited=pb.Exited(run=box.record.state.run, exit_code=code))

    async def Attach(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.AttachResponse]:
        opening = (await anext(aiter(request_iterator))).open
        box = self.find(opening.id)
        tty = box.record.spec.tty
        position = 0 if opening.replay else opening.offset if opening.HasField("offset") else len(box.output.frames)
        yield pb.AttachResponse(opened=pb.AttachOpened(tty=tty))
        feeder = self._tasks.spawn(self._stdin(box, request_iterator), "stdin")
        try:
            async for item in _numbered(box.output, position, opening.stream):
                position, stream, data = item
                if (stream == 1 and opening.stdout) or (stream == 2 and opening.stderr):
                    yield pb.AttachResponse(output=output_message(stream, data, tty, position))
            yield pb.AttachResponse(output=pb.Output(ended=True))
        finally:
            feeder.cancel()

    async def _stdin(self, box: Box, request_iterator: Any) -> None:
        async for request in request_iterator:
            while box.process is None:
                await asyncio.sleep(0.005)
            await box.process.stdin.put(request.stdin if request.WhichOneof("part") == "stdin" else None)

    async def Resize(self, request: pb.ResizeRequest, context: Any) -> pb.ResizeResponse:
        box = self.find(request.id)
        if box.record.state.status not in _RUNNING:
            raise Conflict(f"Container {box.record.id} is not running")
        self.resized.append((request.height, request.width))
        return pb.ResizeResponse()

    async def Top(self, request: pb.TopRequest, context: Any) -> pb.TopResponse:
        self.find(request.id)
        return pb.TopResponse(titles=["PID", "CMD"], processes=[pb.TopProcess(columns=["1", "sleep"])])

    async def PrepareLayers(self, request: pb.PrepareLayersRequest, context: Any) -> pb.PrepareLayersResponse:
        self.prepared += 1
        self.prepared_layers.append([layer.diff_id for layer in request.layers])
        return pb.PrepareLayersResponse()

    async def GetSpool(self, request: pb.GetSpoolRequest, context: Any) -> pb.GetSpoolResponse:
        return pb.GetSpoolResponse(end_offset=len(self.find(request.id).output.frames))

    async def ReadSpool(self, request: pb.ReadSpoolRequest, context: Any) -> AsyncIterator[pb.ReadSpoolResponse]:
        box = self.find(request.id)
        start = max(0, len(box.output.frames) - request.tail) if request.HasField("tail") else 0
        async for _, stream, data in box.output.read(start, request.follow):
            if (stream == 1 and request.stdout) or (stream == 2 and request.stderr):
                yield pb.ReadSpoolResponse(data=struct.pack(">B3xI", stream, len(data)) + data if request.multiplexed else data)

    async def Subscribe(self, request: pb.SubscribeRequest, context: Any) -> AsyncIterator[pb.SubscribeResponse]:
        async for item in self.events.subscribe(request.subscription):
            yield pb.SubscribeResponse(item=item)

    async def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoResponse:
        running = sum(box.record.state.status in _RUNNING for box in self.boxes.values())
        return pb.InfoResponse(
            node="testnode",
            containers=len(self.boxes),
            running=running,
            stopped=len(self.boxes) - running,
            kernel_version="6.0",
            operating_system="Test",
            architecture="x86_64",
            cpus=2,
            memory=1 << 30,
            cgroup_version="1",
            cgroup_driver="cgroupfs",
            default_runtime="runc",
            runtimes={"runc": "runc"},
            storage_driver="overlay2",
            root_dir="/var/lib/skerry",
        )


async def _numbered(output: Output, position: int, follow: bool) -> AsyncIterator[tuple[int, int, bytes]]:
    """Output from position; a container that was not started yet is followed into its first run."""
    async for item in output.read(position, follow):
        yield item
