"""A gateway in front of doubles: everything behind real sockets, in one process."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from gateway_doubles.containers import Containers
from gateway_doubles.execs import Execs
from gateway_doubles.images import Images
from gateway_doubles.logs import Logs
from gateway_doubles.networks import Networks
from gateway_doubles.volumes import Volumes
from skerry.api.containers.v1.containers_pb2_grpc import add_ContainersServiceServicer_to_server
from skerry.api.containers.v1.execs_pb2_grpc import add_ExecsServiceServicer_to_server
from skerry.api.containers.v1.volumes_pb2_grpc import add_VolumesServiceServicer_to_server
from skerry.api.images.v1.images_pb2_grpc import add_ImagesServiceServicer_to_server
from skerry.api.logs.v1.logs_pb2_grpc import add_LogsServiceServicer_to_server
from skerry.api.networks.v1.networks_pb2_grpc import add_NetworksServiceServicer_to_server
from skerry.core.lifecycle import Tasks
from skerry.core.rpc.server import serving
from skerry.gateway.__main__ import Settings, service


@dataclass
class Engine:
    """Where it is, and the doubles behind it."""

    run: str
    images: Images
    containers: Containers
    execs: Execs
    volumes: Volumes
    networks: Networks
    logs: Logs

    @property
    def socket(self) -> str:
        return f"{self.run}/docker.sock"

    @asynccontextmanager
    async def serve(self, name: str) -> AsyncIterator[None]:
        """Serves one of the doubles."""
        add = {
            "images": [lambda server: add_ImagesServiceServicer_to_server(self.images, server)],
            "networks": [lambda server: add_NetworksServiceServicer_to_server(self.networks, server)],
            "logs": [lambda server: add_LogsServiceServicer_to_server(self.logs, server)],
            "containers": [
                lambda server: add_ContainersServiceServicer_to_server(self.containers, server),
                lambda server: add_ExecsServiceServicer_to_server(self.execs, server),
                lambda server: add_VolumesServiceServicer_to_server(self.volumes, server),
            ],
        }[name]
        async with serving(f"unix:{self.run}/{name}.sock", add, [], drain=0.05):
            yield

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[str]:
        """Serves a gateway."""
        settings = Settings(root=self.run, run=self.run, node="testnode", drain=0.2, metrics="off", grace=0.2)
        async with service(settings) as address:
            yield address

    async def docker(self, *args: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Runs the docker CLI; returns exit code, stdout, stderr."""
        # By the thread's vfork: a fork of a process with gRPC in it may crash the child (grpc's at-fork handlers).
        done = await asyncio.to_thread(
            subprocess.run,
            ["docker", *args],
            **({"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}),
            capture_output=True,
            env={**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": self.run, **(env or {})},
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()


@asynccontextmanager
async def doubles() -> AsyncIterator[Engine]:
    """Makes doubles in a directory of their own; none is served yet."""
    with tempfile.TemporaryDirectory(prefix="gw-") as run:
        async with Tasks() as tasks:
            containers = Containers(tasks)
            yield Engine(run, Images(), containers, Execs(containers, tasks), Volumes(), Networks(), Logs(containers))


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    """Runs doubles and a gateway."""
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "networks", "logs", "containers"):
            await stack.enter_async_context(made.serve(name))
        await stack.enter_async_context(made.gateway())
        yield made
