"""A real containers service for tests: its own process, keeper and directories, a small image store, one network namespace."""

import asyncio
import hashlib
import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc.aio

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1 import execs_pb2
from skerry.api.containers.v1.containers_pb2_grpc import ContainersServiceStub
from skerry.api.containers.v1.execs_pb2_grpc import ExecsServiceStub
from skerry.api.containers.v1.volumes_pb2_grpc import VolumesServiceStub
from skerry.api.events.v1 import events_pb2
from skerry.api.images.v1 import images_pb2
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceServicer, add_ImagesServiceServicer_to_server
from skerry.api.networks.v1 import networks_pb2
from skerry.core.ids import new_id
from skerry.core.rpc.channel import call, open_channel
from skerry.core.rpc.server import serving

BUSYBOX = "/bin/busybox"
SERVICES = os.path.abspath(f"{os.path.dirname(__file__)}/../../services")


class LayerStore(ImagesServiceServicer):
    """Serves one layer by path."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def FetchLayer(self, request: Any, context: Any) -> AsyncIterator[images_pb2.FetchLayerResponse]:
        yield images_pb2.FetchLayerResponse(path=self._path)


def busybox_layer(path: str) -> images_pb2.Layer:
    """Writes a layer of busybox with its links, passwd and group, a file without the right to run, and a directory for a volume."""
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("bin", "etc", "tmp", "root", "data"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        with open(BUSYBOX, "rb") as file:
            content = file.read()
        _file(tar, "bin/busybox", content, 0o755)
        for applet in applets:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.LNKTYPE, "bin/busybox"
            if applet != "busybox":
                tar.addfile(entry)
        _file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\n", 0o644)
        _file(tar, "etc/group", b"root:x:0:\ndaemon:x:1:\n", 0o644)
        _file(tar, "etc/plain", b"no program\n", 0o644)
        _file(tar, "data/seed", b"seed\n", 0o600)
    with open(path, "rb") as file:
        digest = f"sha256:{hashlib.sha256(file.read()).hexdigest()}"
    return images_pb2.Layer(diff_id=digest, chain_id=digest, size=os.path.getsize(path))


def _file(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


class NodeUnderTest:
    """The service in a process of its own, and everything a test asks it."""

    def __init__(self, base: str, layer: images_pb2.Layer, netns: str) -> None:
        self.root, self.run, self.base, self.netns = f"{base}/root", f"{base}/run", base, netns
        self.address = f"unix:{self.run}/containers.sock"
        self.image = images_pb2.Image(id="sha256:" + "ab" * 32, repo_tags=["busybox:latest"], layers=[layer])
        self.image.config.cmd.values.append("sh")
        self.process: asyncio.subprocess.Process | None = None
        # What stands before the service's argv: nothing, or what enters a namespace.
        self.enter: list[str] = []
        self._channel: grpc.aio.Channel | None = None

    async def start(self, **environ: str) -> None:
        """Starts the service and waits until it answers."""
        settings = {"SKERRY_ROOT": self.root, "SKERRY_RUN": self.run, "SKERRY_CONTAINERS_IMAGES": f"unix:{self.base}/images.sock"}
        self.process = await asyncio.create_subprocess_exec(
            *self.enter, sys.executable, "-m", "skerry.containers", env={**os.environ, "PYTHONPATH": SERVICES, **settings, **environ}
        )
        self._channel = open_channel(self.address)
        async with asyncio.timeout(30):
            await self.containers.Info(pb.InfoRequest(), wait_for_ready=True)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Ends the service by a signal; returns its exit status."""
        assert self.process is not None and self._channel is not None
        await self._channel.close()
        try:
            # Not send_signal: that would bury a process that has just ended before asyncio sees its status.
            os.kill(self.process.pid, number)
        except ProcessLookupError:
            pass
        return await asyncio.wait_for(self.process.wait(), 20)

    @property
    def containers(self) -> ContainersServiceStub:
        assert self._channel is not None
        return ContainersServiceStub(self._channel)

    @property
    def execs(self) -> ExecsServiceStub:
        assert self._channel is not None
        return ExecsServiceStub(self._channel)

    @property
    def volumes(self) -> VolumesServiceStub:
        assert self._channel is not None
        return VolumesServiceStub(self._channel)

    def keeper(self) -> int:
        """Returns the keeper's process id."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(f"{self.run}/keeper.sock")
            return struct.unpack("iii", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    async def create(self, *command: str, name: str = "", container_id: str = "", **spec: Any) -> str:
        message = pb.ContainerSpec(**spec)
        if command:
            message.cmd.values.extend(command)
        request = pb.CreateRequest(
            id=container_id or new_id(), name=name, spec=message, image=self.image, image_name="busybox", log=pb.LogTarget(driver="none")
        )
        return (await call(lambda: self.containers.Create(request))).container.id

    def sandbox(self, container_id: str, run: int) -> networks_pb2.Sandbox:
        directory = f"{self.base}/sandboxes/{container_id}"
        os.makedirs(directory, exist_ok=True)
        for name, content in (("hosts", "127.0.0.1 localhost\n"), ("hostname", f"{container_id[:12]}\n"), ("resolv.conf", "")):
            with open(f"{directory}/{name}", "w", encoding="ascii") as file:
                file.write(content)
        return networks_pb2.Sandbox(
            container_id=container_id,
            run=run,
            mode=networks_pb2.NETWORK_MODE_NONE,
            netns_path=self.netns,
            hosts_path=f"{directory}/hosts",
            hostname_path=f"{directory}/hostname",
            resolv_conf_path=f"{directory}/resolv.conf",
            hostname=container_id[:12],
        )

    async def start_container(self, container_id: str, run: int = 1, **more: Any) -> pb.Container:
        request = pb.StartRequest(id=container_id, run=run, sandbox=self.sandbox(container_id, run), **more)
        return (await call(lambda: self.containers.Start(request))).container

    async def get(self, container: str, *, size: bool = False) -> pb.Container:
        return (await call(lambda: self.containers.Get(pb.GetRequest(container=container, size=size)))).container

    async def wait(self, container_id: str, condition: "pb.WaitCondition" = pb.WAIT_CONDITION_NOT_RUNNING, **more: Any) -> pb.Exited:
        async with asyncio.timeout(60):
            async for response in self.containers.Wait(pb.WaitRequest(id=container_id, condition=condition, **more)):
                if response.HasField("exited"):
                    return response.exited
        raise AssertionError("the wait ended without an exit")

    async def remove(self, container_id: str, *, force: bool = True) -> None:
        await call(lambda: self.containers.Remove(pb.RemoveRequest(id=container_id, force=force, volumes=True)))

    async def run_to_end(self, *command: str, **spec: Any) -> tuple[str, int, bytes]:
        """Creates, attaches, starts, waits; returns id, exit code and raw output frames."""
        container_id = await self.create(*command, **spec)
        client = Client(self, container_id)
        await client.opened()
        await self.start_container(container_id)
        output = await client.rest()
        return container_id, (await self.wait(container_id)).exit_code, output

    async def events(self) -> list[events_pb2.Event]:
        found = []
        request = pb.SubscribeRequest(subscription=events_pb2.SubscribeRequest(since_ns=1))
        async for response in self.containers.Subscribe(request):
            if response.item.HasField("live"):
                break
            found.append(response.item.event)
        return found

    def leftovers(self, container_id: str) -> list[str]:
        """Returns what is left of a container: mounts, cgroups, processes, directories, runtime records."""
        found = []
        with open(f"/proc/{self.keeper()}/mountinfo", encoding="utf-8") as file:
            found += [line.strip() for line in file if container_id in line]
        for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            for controller in os.listdir(top):
                path = f"{top}/{controller}/skerry/{container_id}"
                found += [path] if os.path.isdir(path) else []
        # As containers' makers see it: below the place of a hierarchy that is not mounted there.
        hidden = f"/proc/{self.keeper()}/root/sys/fs/cgroup/unified/skerry/{container_id}"
        found += [hidden] if os.path.exists(hidden) else []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    command = file.read()
            except OSError:
                continue
            if container_id.encode() in command:
                found.append(f"process {pid}: {command!r}")
        paths = [f"{self.root}/runtime/{container_id}", f"{self.run}/crun/{container_id}", f"{self.run}/runc/{container_id}"]
        return found + [path for path in paths if os.path.exists(path)]


class Client:
    """An attached client (or the client of an exec): what it gets and what it sends."""

    def __init__(self, node: NodeUnderTest, container_id: str, *, stdin: bool = False, **opened: Any) -> None:
        self.call = node.containers.Attach()
        self._open = pb.AttachRequest(open=pb.AttachOpen(id=container_id, stdin=stdin, stdout=True, stderr=True, stream=True, **opened))
        self.offset, self.gap, self.ended = 0, 0, False

    async def opened(self) -> pb.AttachOpened:
        await self.call.write(self._open)
        return (await self.call.read()).opened

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), 65536):
            await self.call.write(pb.AttachRequest(stdin=data[at : at + 65536]))

    async def close_stdin(self) -> None:
        await self.call.write(pb.AttachRequest(stdin_end=pb.StdinEnd()))

    async def piece(self) -> bytes | None:
        response = await self.call.read()
        if response is grpc.aio.EOF:
            return None
        self.offset = response.output.next_offset
        self.ended = response.output.ended
        self.gap += response.output.gap
        return response.output.data

    async def rest(self, limit: float = 60) -> bytes:
        parts = []
        async with asyncio.timeout(limit):
            while (piece := await self.piece()) is not None:
                parts.append(piece)
        return b"".join(parts)


def streams(output: bytes) -> tuple[bytes, bytes]:
    """Takes Docker's frames apart: stdout and stderr."""
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    at = 0
    while at < len(output):
        size = int.from_bytes(output[at + 4 : at + 8], "big")
        parts[output[at]].append(output[at + 8 : at + 8 + size])
        at += 8 + size
    return b"".join(parts[1]), b"".join(parts[2])


async def run_exec(node: NodeUnderTest, container: str, *command: str, stdin: bytes | None = None, **spec: Any) -> tuple[int, bytes, str]:
    """Creates, starts, reads to the end; returns exit code, output and id."""
    message = execs_pb2.ExecSpec(cmd=command, attach_stdout=True, attach_stderr=True, attach_stdin=stdin is not None, **spec)
    made = (await call(lambda: node.execs.CreateExec(execs_pb2.CreateExecRequest(container=container, spec=message)))).exec

    async def requests() -> AsyncIterator[execs_pb2.StartExecRequest]:
        yield execs_pb2.StartExecRequest(open=execs_pb2.ExecOpen(id=made.id))
        for at in range(0, len(stdin or b""), 65536):
            yield execs_pb2.StartExecRequest(stdin=(stdin or b"")[at : at + 65536])
        if stdin is not None:
            yield execs_pb2.StartExecRequest(stdin_end=pb.StdinEnd())

    output = b""
    async with asyncio.timeout(60):
        async for response in node.execs.StartExec(requests()):
            output += response.output.data
    got = (await call(lambda: node.execs.GetExec(execs_pb2.GetExecRequest(id=made.id)))).exec
    return got.exit_code, output, made.id


@asynccontextmanager
async def containers_node(prepare: Callable[[str], None] | None = None, **environ: str) -> AsyncIterator[NodeUnderTest]:
    """Runs a node; at the end removes its containers and everything it made. prepare is given the node's root before that exists."""
    base = tempfile.mkdtemp(prefix="sk-", dir="/tmp")
    name = f"node-{os.path.basename(base)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    layer = busybox_layer(f"{base}/layer.tar")
    register = partial(add_ImagesServiceServicer_to_server, LayerStore(f"{base}/layer.tar"))
    node = NodeUnderTest(base, layer, f"/run/netns/{name}")
    try:
        if prepare is not None:
            prepare(node.root)
        async with serving(f"unix:{base}/images.sock", [register], [], drain=0):
            await node.start(**environ)
            try:
                yield node
            finally:
                await clear(node)
    finally:
        end_keeper(node)
        unmount(base)
        subprocess.run(["ip", "netns", "delete", name], check=True)
        shutil.rmtree(base)


async def clear(node: NodeUnderTest) -> None:
    """Removes the node's containers and ends its service, which is started for that when it is not running."""
    assert node.process is not None
    if node.process.returncode is not None:
        await node.start()
    async for response in node.containers.List(pb.ListRequest()):
        await node.remove(response.container.id)
    assert await node.end() == 0


def end_keeper(node: NodeUnderTest) -> None:
    """Ends the node's keeper."""
    try:
        os.kill(node.keeper(), signal.SIGTERM)
    except (FileNotFoundError, ConnectionRefusedError):
        return


def unmount(base: str) -> None:
    """Unmounts all below base."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file if line.split()[4].startswith(base)]
    for point in sorted(points, key=len, reverse=True):
        subprocess.run(["umount", "-l", point], check=False)


async def eventually(check: Any, seconds: float = 10) -> Any:
    """Asks again until check() gives something true; returns it."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (value := (await got if asyncio.iscoroutine(got := check()) else got)):
        assert asyncio.get_running_loop().time() < deadline, "it did not come to pass"
        await asyncio.sleep(0.05)
    return value


def numbered(output: bytes) -> Iterable[int]:
    return (int(line) for line in output.split())
