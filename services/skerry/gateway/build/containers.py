"""The containers of one build: made for a step, run or written to, turned into a layer, removed."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.core.errors import Failed, NotFound, SkerryError, Unavailable
from skerry.core.ids import short
from skerry.core.rpc.channel import call, call_again, translated
from skerry.gateway.beside import beside
from skerry.gateway.build.config import Config
from skerry.gateway.build.output import Frames, Output
from skerry.gateway.build.registry import marked
from skerry.gateway.build.sources import Archive
from skerry.gateway.coordinator import create as creating
from skerry.gateway.coordinator import start as starting
from skerry.gateway.coordinator.owned import owned
from skerry.gateway.coordinator.remove import remove_quietly
from skerry.gateway.docker.create import parse_create
from skerry.gateway.peers import Peers
from skerry.gateway.pump import Pump, new_hold
from skerry.gateway.routes.attach import AttachSession

_WHAT = "the container service"
_NO_OWNER = re.compile(r"unable to find (user|group) (.*): no matching entries in (?:passwd|group) file\Z", re.DOTALL)
_DIRECTORY, _SYMLINK = 1 << 31, 1 << 27
_AGAIN_SECONDS = 0.2
_PATIENCE = 60
_STORE_PATIENCE = 15
_SEEN_SECONDS, _UNSEEN_SECONDS = 30, 1


class Containers:
    """See the module. Removals go on beside the build; `finish` waits for them."""

    def __init__(self, peers: Peers, build: str, host: dict[str, Any], output: Output) -> None:
        """build: the name of the build; host: Docker's HostConfig of its containers."""
        self._peers = peers
        self._build = build
        self._host = host
        self.output = output
        # Made in the present step, and whether they ran.
        self._made: dict[str, bool] = {}
        # For the client's eyes only: steps that need no container are told as if they had one.
        self._told: list[str] = []
        # Removals under way, of those that the client saw and of the others.
        self._seen: list[asyncio.Task[None]] = []
        self._unseen: list[asyncio.Task[None]] = []

    async def create(self, image: images_pb2.Image | None, config: Config, *, told: bool = True, bare: bool = False) -> str:
        """Makes a container; None: of nothing (FROM scratch). told: the client sees it come and go.

        bare: for its files alone. It has no volumes, so that what is written to their places is written to the image.
        """
        given = {key: value for key, value in config.items() if value is not None}
        if bare:
            given = {"Cmd": config["Cmd"]}
        name = image.id if image is not None else "scratch"
        wanted = parse_create(msgspec.json.encode({**given, "Image": name, "HostConfig": dict(self._host)}), "", "")
        wanted.image_name = image.id if image is not None else ""
        wanted.config["Image"] = wanted.image_name
        wanted.networking = dict(marked(self._build))
        base = images_pb2.Image()
        if image is not None:
            base.CopyFrom(image)
        if bare:
            base.ClearField("config")
        answer = await owned(self._peers, creating.create_step(self._peers, wanted, base), "build step")
        container_id = answer.container.id
        self._made[container_id] = False
        if told:
            for warning in answer.warnings:
                await self.output.line(f" ---> [Warning] {warning}")
            await self._tell(container_id)
        return container_id

    async def _tell(self, container_id: str) -> None:
        self._told.append(container_id)
        await self.output.line(f" ---> Running in {short(container_id)}")

    async def pretend(self, container_id: str) -> None:
        """Tells the client of a container that a step would have in dockerd, and that it does not need."""
        await self._tell(container_id)

    async def run(self, container_id: str) -> int:
        """Runs it to its end, its output going to the build's, and returns its exit code. Raises what the start raised."""
        self._made[container_id] = True
        opening = pb.AttachOpen(id=container_id, stdout=True, stderr=True, stream=True, hold=new_hold())
        pump = Pump(AttachSession(self._peers, opening, 1), 0)
        frames = Frames(self.output)
        try:
            with self._peers.joining(container_id):
                await call(pump.begin)
                async with beside(pump.run(_Reader(frames), stdin=False, once=False, detach_keys=b"")) as pumping:
                    await owned(self._peers, starting.start(self._peers, container_id), "start of a build step")
                    await pumping
            await frames.finish()
        finally:
            pump.cancel()
        return await self._exit_code(container_id)

    async def _exit_code(self, container_id: str) -> int:
        request = pb.WaitRequest(id=container_id, condition=pb.WAIT_CONDITION_NOT_RUNNING)
        for _ in range(int(_PATIENCE / _AGAIN_SECONDS)):
            stream = self._peers.containers.Wait(request)
            try:
                async for item in stream:
                    if item.WhichOneof("item") == "exited":
                        return int(item.exited.exit_code)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise translated(error) from error
            finally:
                stream.cancel()
            await asyncio.sleep(_AGAIN_SECONDS)
        raise Unavailable(f"{_WHAT} does not tell how container {short(container_id)} ended")

    async def where(self, container_id: str, path: str) -> tuple[str, bool]:
        """Returns where a path of the container leads when its last part is a symlink, and whether a directory is there."""
        stat = await self._stat(container_id, path)
        if stat is not None and stat.mode & _SYMLINK and stat.link_target:
            path = stat.link_target
            stat = await self._stat(container_id, path)
        return path, stat is not None and bool(stat.mode & _DIRECTORY)

    async def exists(self, container_id: str, path: str) -> bool:
        """Tells whether there is something at a path."""
        return await self._stat(container_id, path) is not None

    async def _stat(self, container_id: str, path: str) -> pb.PathStat | None:
        request = pb.StatPathRequest(container=container_id, path=path)
        try:
            return (await call_again(lambda: self._peers.containers.StatPath(request), what=_WHAT)).stat
        except NotFound:
            return None

    async def put(self, container_id: str, archive: Archive, *, chown: str, keep_owner: bool) -> None:
        """Writes files into a container. Raises Failed in Docker's words where it has some."""
        user, _, group = chown.partition(":")
        opening = pb.PutArchiveOpen(
            container=container_id,
            path=archive.path,
            create_path=True,
            chown=f"{user}:{group or user}" if chown else "",
            file_or_directory=archive.file_or_directory,
        )

        async def requests() -> AsyncIterator[pb.PutArchiveRequest]:
            yield pb.PutArchiveRequest(open=opening)
            pieces = archive.pieces(keep_owner=keep_owner)
            while data := await asyncio.to_thread(next, pieces, b""):
                yield pb.PutArchiveRequest(chunk=data)

        try:
            # Written again from its beginning by a node that died within: the same files come out.
            await call_again(lambda: self._peers.containers.PutArchive(requests()), what=_WHAT)
        except SkerryError as error:
            if chown and (match := _NO_OWNER.match(str(error))):
                kind = "uid" if match[1] == "user" else "gid"
                text = f"can't find {kind} for {match[1]} {match[2]}: no such {match[1]}: {match[2]}"
                raise Failed(f"unable to convert uid/gid chown string to host mapping: {text}") from None
            raise Failed(f"failed to copy files: {error}") from None

    async def layer(self, container_id: str, holder: str) -> images_pb2.Layer | None:
        """Returns the layer of what was changed in it, now in the image store; None: nothing was."""
        request = pb.CommitLayerRequest(container=container_id, image_store=self._peers.image_store, holder=holder)
        deadline = time.monotonic() + _STORE_PATIENCE
        while True:
            try:
                answer = await call_again(lambda: self._peers.containers.CommitLayer(request), what=_WHAT)
                return answer.layer if answer.HasField("layer") else None
            except Unavailable:
                # The store went away from under the node: what a command of an hour has written is worth some waiting.
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

    async def read(self, container_id: str, members: list[str]) -> AsyncIterator[bytes]:
        """Yields the tar of the paths and patterns below the root."""
        stream = self._peers.containers.GetArchive(pb.GetArchiveRequest(container=container_id, path="/", members=members))
        try:
            async for item in stream:
                if item.chunk:
                    yield item.chunk
        except grpc.aio.AioRpcError as error:
            raise translated(error) from error
        finally:
            stream.cancel()

    def drop(self, container_id: str) -> None:
        """Removes one of which the client was not told."""
        self._remove(container_id, self._made.pop(container_id))

    async def clear(self) -> None:
        """Removes what the step made, and says so."""
        self.abandon()
        for container_id in self._told:
            await self.output.line(f"Removing intermediate container {short(container_id)}")
        self._told.clear()

    async def keep(self) -> None:
        """Lets what the client was told of stay (--rm=false, a RUN that failed), each with a lease of its own on its image."""
        for container_id in self._told:
            if container_id not in self._made:
                continue
            request = pb.GetRequest(container=container_id)
            container = (await call_again(lambda r=request: self._peers.containers.Get(r), what=_WHAT)).container  # type: ignore[misc]
            if container.image_id:
                lease = images_pb2.AcquireLeaseRequest(image=container.image_id, holder=self._peers.holder(container_id))
                await call_again(lambda r=lease: self._peers.images.AcquireLease(r), what="the image store")  # type: ignore[misc]
            del self._made[container_id]
        self._told.clear()
        self.abandon()

    def abandon(self) -> None:
        """Removes what the step made, running or not."""
        for container_id, ran in self._made.items():
            self._remove(container_id, ran)
        self._made.clear()

    def _remove(self, container_id: str, ran: bool) -> None:
        work = remove_quietly(self._peers, container_id) if ran else self._remove_unused(container_id)
        removals = self._seen if container_id in self._told else self._unseen
        removals.append(self._peers.tasks.spawn(work, name=f"remove {short(container_id)}"))

    async def _remove_unused(self, container_id: str) -> None:
        request = pb.RemoveRequest(id=container_id, force=True, volumes=True)
        try:
            await call_again(lambda: self._peers.containers.Remove(request), what=_WHAT)
        except NotFound:
            pass

    async def finish(self) -> None:
        """Waits until what was to be removed is gone; for containers of which the client does not know, a moment only."""
        for removals, seconds in ((self._seen, _SEEN_SECONDS), (self._unseen, _UNSEEN_SECONDS)):
            if removals:
                await asyncio.wait(removals, timeout=seconds)


class _Reader:
    """A build as the client of a container's output."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    async def read(self) -> bytes:
        """Returns no input."""
        return b""

    async def write(self, data: bytes) -> None:
        """Takes output."""
        await self._frames.write(data)
