"""All containers of the node: found by id, prefix or name, made and removed."""

import asyncio
import os
import shutil
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.events.v1 import events_pb2
from skerry.containers import launch, mounts, oci, sources, stop
from skerry.containers.container import Container
from skerry.containers.environment import Environment
from skerry.containers.events import container_event
from skerry.containers.limits import check as check_limits
from skerry.containers.merge import merge
from skerry.containers.names import check_name, propose_name
from skerry.containers.record import Layer, Record, Volume
from skerry.containers.settle import Settlement
from skerry.containers.state import Answer, Phase, Policy, RemoveAsked, RemoveFailed, Settled, State
from skerry.containers.store import name_in_use
from skerry.containers.validate import validate_spec
from skerry.core import failpoints
from skerry.core.errors import Conflict, Failed, InvalidArgument, NotFound
from skerry.core.ids import is_id

failpoints.declare("containers.create", "reserved", "ensured", "directories", "recorded")
failpoints.declare("containers.remove", "marked", "unmounted", "emptied")

# How long removing waits for the end of a run to be settled, and how many removed ones a late wait is still answered for.
_SETTLE_SECONDS = 30
_REMOVED_KEPT = 1000
_TRIES = 5
_FORGET_SECONDS = 0.2


class Node:
    """The registry. The records in memory are the truth; the store follows each change."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.settlement = Settlement(environment.tasks, self.settle)
        self._containers: dict[str, Container] = {}
        self._names: dict[str, str] = {}
        self._creating: dict[str, asyncio.Future[list[str]]] = {}
        self._removed: OrderedDict[str, Answer] = OrderedDict()

    def adopt(self, record: Record) -> Container:
        """Takes a stored record in."""
        container = Container(self.environment, self.settlement, record, self._launch_again, sources.release)
        self._containers[record.id] = container
        self._names[record.name] = record.id
        return container

    def __iter__(self) -> Iterator[Container]:
        """Newest first."""
        return iter(sorted(self._containers.values(), key=lambda each: each.record.created_ns, reverse=True))

    def find(self, text: str) -> Container:
        """Returns a container by id, name (with or without "/") or unique id prefix. Raises NotFound, InvalidArgument."""
        known = self._containers.get(text) or self._containers.get(self._names.get(text.removeprefix("/"), ""))
        if known is not None:
            return known
        if text:
            matches = [each for each in self._containers if each.startswith(text)]
            if len(matches) == 1:
                return self._containers[matches[0]]
            if matches:
                raise InvalidArgument(f"Multiple IDs found with provided prefix: {text}")
        raise NotFound(f"No such container: {text}")

    async def message(self, container: Container, *, size: bool) -> pb.Container:
        """Returns the wire's view, with sizes when asked for."""
        message = container.message()
        if size:
            layers = container.record.layer_messages()
            message.size_rw, message.size_root_fs = await self.environment.layers.sizes(container.directory, layers)
        return message

    def layers_in_use(self) -> set[str]:
        """Returns the diff ids of all containers' layers."""
        return {layer.diff_id for container in self._containers.values() for layer in container.record.layers}

    def unsettled(self) -> Iterator[pb.WatchResponse]:
        """Yields what a control plane has to know when it comes: unsettled ends and containers that want a sandbox."""
        for container in list(self._containers.values()):
            state = container.state
            if not state.settled:
                yield pb.WatchResponse(ended=container.ended_message(state.run))
            if state.needs_sandbox:
                yield pb.WatchResponse(needs_sandbox=pb.NeedsSandbox(id=container.id, run=state.run + 1))

    def removed(self, container_id: str) -> Answer | None:
        """Returns how a container that was removed lately had ended."""
        return self._removed.get(container_id)

    async def create(self, request: pb.CreateRequest) -> tuple[Container, list[str]]:
        """Makes a record and its directories. The same id again returns what the first call made."""
        if not is_id(request.id):
            raise InvalidArgument(f"invalid container id {request.id[:80]!r}: want 64 hexadecimal digits")
        if (under_way := self._creating.get(request.id)) is not None:
            warnings = await asyncio.shield(under_way)
            return self._containers[request.id], warnings
        if (known := self._containers.get(request.id)) is not None:
            return known, []
        done = self._creating[request.id] = asyncio.get_running_loop().create_future()
        try:
            warnings = await self.environment.finish(self._create(request), f"create {request.id[:12]}")
            done.set_result(warnings)
        except BaseException as error:
            done.set_exception(error if isinstance(error, Exception) else Failed("create was interrupted"))
            done.exception()  # whether somebody else waits or not
            raise
        finally:
            del self._creating[request.id]
        return self._containers[request.id], warnings

    async def _create(self, request: pb.CreateRequest) -> list[str]:
        spec, environment = merge(request.spec, request.image.config), self.environment
        validate_spec(spec)
        warnings = check_limits(spec.resources, environment.host.limits) + oci.validate(spec, environment.host)
        spec.runtime = (await environment.runtimes.usable(spec.runtime)).name
        spec.cgroupns_mode = spec.cgroupns_mode or oci.default_cgroupns_mode(environment.host)
        if spec.network_mode == "host" and not spec.hostname:
            spec.hostname = socket.gethostname()
        name = self._reserve(request.name, request.id)
        directory = environment.directory(request.id)
        resolved: tuple[Volume, ...] = ()
        try:
            await failpoints.reached("containers.create.reserved")
            await environment.layers.ensure(request.image.layers, request.image_store or environment.image_store)
            await failpoints.reached("containers.create.ensured")
            os.makedirs(f"{directory}/spool", mode=0o700, exist_ok=True)
            resolved = await self._resolve_mounts(request, spec)
            await failpoints.reached("containers.create.directories")
            record = _record(request, spec, name, resolved)
            await environment.store.add(record, events := [container_event(record, "create")])
            try:
                await failpoints.reached("containers.create.recorded")
            except Failed:
                await environment.store.remove(record.id)
                raise
        except BaseException:
            self._names.pop(name, None)
            await environment.volumes.release(request.id, resolved, remove_anonymous=True)
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            raise
        self.adopt(record)
        for event in events:
            environment.journal.published(event)
        return warnings

    async def _resolve_mounts(self, request: pb.CreateRequest, spec: pb.ContainerSpec) -> tuple[Volume, ...]:
        """Makes a new container's volumes, with the image's content in those that are empty. On failure nothing of it is left."""
        others: list[Volume] = []
        for reference in spec.volumes_from:
            try:
                other = self.find(reference.partition(":")[0])
            except NotFound as error:
                # docker takes any 404 of a create for a missing image.
                raise InvalidArgument(str(error)) from None
            others += mounts.taken_over(reference, other.record.mounts)
        environment = self.environment
        if not (spec.mounts or spec.volumes or others):
            return ()
        resolved = await environment.outside.there(mounts.resolve, spec, environment.root, others)
        resolved = await environment.volumes.claim(request.id, spec, resolved)
        try:
            if filling := tuple(mount for mount in resolved if mount.type == "volume" and mount.copy_up):
                directory = environment.directory(request.id)
                try:
                    rootfs = await environment.layers.mount_rootfs(directory, request.image.layers)
                    await environment.volumes.fill(request.id, rootfs, filling)
                finally:
                    await environment.layers.unmount_rootfs(directory)
        except BaseException:
            await environment.volumes.release(request.id, resolved, remove_anonymous=True)
            raise
        return resolved

    def _reserve(self, name: str, container_id: str) -> str:
        if name:
            check_name(name)
            if (holder := self._names.setdefault(name, container_id)) != container_id:
                raise name_in_use(name, holder)
            return name
        for attempt in range(100):
            proposed = propose_name(attempt)
            if self._names.setdefault(proposed, container_id) == container_id:
                return proposed
        raise Failed("no free name found")

    def _reserve_new(self, name: str, container_id: str) -> None:
        """Takes a name for a container that has one. Raises InvalidArgument, Conflict."""
        try:
            check_name(name, shown=f"/{name}")
            if (holder := self._names.setdefault(name, container_id)) != container_id:
                raise name_in_use(name, holder)
        except (InvalidArgument, Conflict) as error:
            raise type(error)(f"Error when allocating new name: {error}") from None

    async def start(self, request: pb.StartRequest) -> Container:
        """Starts a run; see launch.start."""
        container = self.find(request.id)
        pid = self.find(request.pid_container_id) if request.pid_container_id else None
        ipc = self.find(request.ipc_container_id) if request.ipc_container_id else None
        await self.environment.finish(launch.start(container, request.run, request.sandbox, pid, ipc), f"start {container.id[:12]}")
        return container

    async def _launch_again(self, container: Container) -> None:
        async with container.operation:
            if container.state.phase is not Phase.STARTING:
                return
            record = container.record
            pid = self._containers.get(record.pid_container_id)
            ipc = self._containers.get(record.ipc_container_id)
            try:
                await launch.run_process(container, pid, ipc)
            except (Failed, InvalidArgument, Conflict):
                pass  # recorded in the state; there is no caller

    async def settle(self, container_id: str, run: int) -> None:
        """Records that the sandbox of run was given back. Idempotent, also for unknown ones."""
        container = self._containers.get(container_id)
        if container is not None:
            await container.apply(Settled(run))

    async def rename(self, text: str, name: str) -> tuple[Container, str]:
        """Gives a container another name; returns it with the old one."""
        container, name = self.find(text), name.removeprefix("/")
        old = container.record.name
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        if name == old:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        self._reserve_new(name, container.id)
        renamed = msgspec.structs.replace(container.record, name=name)
        event = container_event(renamed, "rename", {"oldName": f"/{old}"})
        try:
            await self.environment.store.rename(container.id, name, [event])
        except BaseException:
            self._names.pop(name, None)
            raise
        # Other fields may have changed meanwhile.
        container.record = msgspec.structs.replace(container.record, name=name)
        self._names.pop(old, None)
        self.environment.journal.published(event)
        return container, old

    async def remove(self, text: str, *, force: bool, volumes: bool) -> str:
        """Deletes a container and all its files; returns the id. Raises NotFound, Conflict."""
        container = self.find(text)
        if force and (container.state.active or container.state.phase is Phase.STARTING):
            await stop.end_now(container)
        if not container.state.settled and not await container.until(lambda state: state.settled, _SETTLE_SECONDS):
            raise Failed(f"the end of container {container.id} was not settled in time")
        await container.apply(RemoveAsked())
        await self.environment.finish(self.finish_removal(container, volumes=volumes), f"remove {container.id[:12]}")
        return container.id

    async def finish_removal(self, container: Container, *, volumes: bool) -> None:
        """Goes on with a removal that was begun. Raises Failed; the container is then dead and may be removed again."""
        async with container.operation:
            try:
                await failpoints.reached("containers.remove.marked")
                await container.cleaned_up()
                await self.erase(container, volumes)
            except (Failed, OSError) as error:
                await container.apply(RemoveFailed(str(error)))
                raise Failed(f"unable to remove the file system of container {container.id}: {error}") from error
            record = container.record
            event = container_event(record, "destroy")
            await self._forget(record.id, event)
            del self._containers[record.id]
            self._names.pop(record.name, None)
            container.execs.clear()
            self.environment.journal.published(event)
            answer = Answer(record.state.run, record.state.exit_code)
            self._removed[record.id] = answer
            if len(self._removed) > _REMOVED_KEPT:
                self._removed.popitem(last=False)
            container.waiters.removed(answer)

    async def _forget(self, container_id: str, event: events_pb2.Event) -> None:
        for left in reversed(range(_TRIES)):
            try:
                await self.environment.store.remove(container_id, [event])
            except Failed:
                # On a full disk: what was just removed makes room, once its last holders have let go.
                if not left:
                    raise
                await asyncio.sleep(_FORGET_SECONDS)
            else:
                return

    async def erase(self, container: Container, volumes: bool) -> None:
        """Removes mounts and files; each step may find its work done."""
        environment, directory = self.environment, container.directory
        await environment.shipper.remove(container.id)
        await environment.layers.unmount_rootfs(directory)
        await failpoints.reached("containers.remove.unmounted")
        await asyncio.to_thread(_empty, directory)
        await environment.volumes.release(container.id, container.record.mounts, remove_anonymous=volumes)
        await failpoints.reached("containers.remove.emptied")


def _empty(directory: str) -> None:
    mounts.unmount_below(directory)
    for _ in range(_TRIES):
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            # A monitor that just ends takes its socket away itself.
            if not os.path.exists(directory):
                return
        else:
            return
    raise Failed(f"{directory} changes while it is removed")


def _record(request: pb.CreateRequest, spec: pb.ContainerSpec, name: str, resolved: tuple[Volume, ...]) -> Record:
    policy = Policy(spec.restart_policy.name or "no", spec.restart_policy.maximum_retry_count)
    return Record(
        id=request.id,
        name=name,
        created_ns=time.time_ns(),
        state=State(id=request.id, policy=policy, auto_remove=spec.auto_remove),
        spec=spec.SerializeToString(),
        log=request.log.SerializeToString(),
        layers=tuple(Layer(layer.diff_id, layer.chain_id, layer.size) for layer in request.image.layers),
        image_id=request.image.id,
        image_name=request.image_name or request.image.id,
        runtime=spec.runtime,
        mounts=resolved,
        docker_config_json=request.docker_config_json,
        docker_host_config_json=request.docker_host_config_json,
        docker_networking_config_json=request.docker_networking_config_json,
    )
