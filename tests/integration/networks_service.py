"""The network manager in a lab of its own, and sockets in its sandboxes; for tests."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

from integration.netns import Namespace
from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.api.networks.v1.networks_pb2_grpc import NetworksServiceStub
from skerry.core import linux
from skerry.core.ids import new_id
from skerry.core.rpc.channel import call, open_channel
from skerry.networks.__main__ import Settings, service


class Client:
    """Calls, with errors as the service raised them."""

    def __init__(self, stub: NetworksServiceStub) -> None:
        self.stub = stub

    async def create(self, container_id: str = "", **fields: Any) -> pb.Sandbox:
        """Makes a sandbox on the default bridge unless fields say otherwise."""
        container_id = container_id or new_id()
        wanted: dict[str, Any] = {"container_name": "web", "run": 1, "mode": pb.NETWORK_MODE_NETWORKS, "hostname": container_id[:12]}
        request = pb.CreateSandboxRequest(container_id=container_id, **{**wanted, **fields})
        return (await call(lambda: self.stub.CreateSandbox(request))).sandbox

    async def release(self, container_id: str, run: int = 0) -> None:
        await call(lambda: self.stub.ReleaseSandbox(pb.ReleaseSandboxRequest(container_id=container_id, run=run)))

    async def remove(self, container_id: str) -> None:
        await call(lambda: self.stub.RemoveSandbox(pb.RemoveSandboxRequest(container_id=container_id)))

    async def get(self, container_id: str) -> pb.Sandbox:
        return (await call(lambda: self.stub.GetSandbox(pb.GetSandboxRequest(container_id=container_id)))).sandbox

    async def all(self) -> list[pb.Sandbox]:
        return [item.sandbox async for item in self.stub.ListSandboxes(pb.ListSandboxesRequest())]

    async def network(self, name: str) -> pb.Network:
        return (await call(lambda: self.stub.GetNetwork(pb.GetNetworkRequest(network=name)))).network


@contextlib.contextmanager
def directory() -> Iterator[str]:
    """A short temporary directory for ROOT and RUN; mounts in it are undone."""
    path = tempfile.mkdtemp(prefix="skn", dir=os.environ.get("SKERRY_TEST_DIRECTORY", "/tmp"))
    try:
        yield path
    finally:
        netns = f"{path}/run/netns"
        if linux.is_mount_point(netns):
            for name in os.listdir(netns):
                with contextlib.suppress(OSError):
                    linux.unmount(f"{netns}/{name}")
            linux.unmount(netns)
        shutil.rmtree(path)


def settings(path: str, **fields: Any) -> Settings:
    return Settings(root=f"{path}/root", run=f"{path}/run", metrics="off", drain=0.2, **fields)


@contextlib.asynccontextmanager
async def running(path: str, **fields: Any) -> AsyncIterator[Client]:
    """The service in the calling thread's network namespace."""
    async with service(settings(path, **fields)) as address, open_channel(address) as channel:
        yield Client(NetworksServiceStub(channel))


def port(container_port: int, host_port: int = 0, **fields: Any) -> pb.PortBinding:
    return pb.PortBinding(container_port=container_port, host_port=host_port, **{"protocol": "tcp", **fields})


def listener(place: Namespace, number: int) -> socket.socket:
    """A TCP server in there."""
    with place.entered():
        server = socket.create_server(("0.0.0.0", number))
    server.settimeout(3)
    return server


def reach(place: Namespace, address: str, number: int, server: socket.socket | None = None, timeout: float = 1) -> str:
    """Connects from there and returns the address that server sees. Raises OSError."""
    with place.entered(), socket.create_connection((address, number), timeout=timeout) as client:
        if server is None:
            return ""
        accepted, peer = server.accept()
        with accepted:
            accepted.sendall(b"hello")
            assert client.recv(5) == b"hello"
        return str(peer[0])


def sandbox_place(sandbox: pb.Sandbox) -> Namespace:
    return Namespace(sandbox.netns_path)
