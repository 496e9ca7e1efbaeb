"""The services that the gateway speaks to, and what handlers share."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import grpc.aio

from skerry.api.containers.v1 import execs_pb2
from skerry.api.containers.v1.containers_pb2_grpc import ContainersServiceStub
from skerry.api.containers.v1.execs_pb2_grpc import ExecsServiceStub
from skerry.api.containers.v1.volumes_pb2_grpc import VolumesServiceStub
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceStub
from skerry.api.logs.v1.logs_pb2_grpc import LogsServiceStub
from skerry.api.networks.v1.networks_pb2_grpc import NetworksServiceStub
from skerry.core.errors import Unavailable
from skerry.core.lifecycle import Tasks
from skerry.core.rpc.channel import open_channel
from skerry.core.rpc.tls import Tls
from skerry.gateway.build.registry import Builds
from skerry.gateway.image_list import ImageLists

if TYPE_CHECKING:  # these exist for type checkers only
    from skerry.api.containers.v1.containers_pb2_grpc import ContainersServiceAsyncStub
    from skerry.api.containers.v1.execs_pb2_grpc import ExecsServiceAsyncStub
    from skerry.api.containers.v1.volumes_pb2_grpc import VolumesServiceAsyncStub
    from skerry.api.images.v1.images_pb2_grpc import ImagesServiceAsyncStub
    from skerry.api.logs.v1.logs_pb2_grpc import LogsServiceAsyncStub
    from skerry.api.networks.v1.networks_pb2_grpc import NetworksServiceAsyncStub


@dataclass(slots=True)
class Peers:
    """Stubs of one node's services, and the gateway's own short-lived knowledge. Nothing here must outlive the process."""

    images: "ImagesServiceAsyncStub"
    containers: "ContainersServiceAsyncStub"
    execs: "ExecsServiceAsyncStub"
    volumes: "VolumesServiceAsyncStub"
    networks: "NetworksServiceAsyncStub"
    logs: "LogsServiceAsyncStub"
    # Name of the node in lease holders.
    node: str
    # Addresses as the node reaches them; empty: the node's own settings.
    image_store: str
    log_router: str
    # Base of the data, for the paths that inspect shows.
    root: str
    # Owner of work that goes on when its client has left.
    tasks: Tasks
    builds: Builds
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    # Removals under way here, by container id: a wait for "removed" answers after them.
    removals: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    # Starts, by container id, that began in this process and are not finished.
    starting: set[str] = field(default_factory=set)
    locks: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)
    event_listeners: int = 0
    image_lists: ImageLists = field(default_factory=ImageLists)
    # Clients that joined before the start, by container id: --rm removes after they have all output.
    joined: "dict[str, set[asyncio.Future[None]]]" = field(default_factory=dict)
    # What execs made here were made with, so that their start need not ask: the latest only.
    execs_made: dict[str, execs_pb2.ExecSpec] = field(default_factory=dict)
    # Handlers of endless streams: cancelled when the gateway stops.
    streams: "set[asyncio.Task[Any]]" = field(default_factory=set)

    @contextmanager
    def joining(self, container_id: str) -> Iterator[None]:
        """Marks a client that joined before the start, for the body's time."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        joined = self.joined.setdefault(container_id, set())
        joined.add(done)
        try:
            yield
        finally:
            done.cancel()
            joined.discard(done)
            if not joined:
                self.joined.pop(container_id, None)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Marks the current task as an endless stream for the body's time."""
        task = asyncio.current_task()
        assert task is not None
        if self.stopping.is_set():
            raise Unavailable("the engine is stopping")
        self.streams.add(task)
        try:
            yield
        finally:
            self.streams.discard(task)

    def stop(self) -> None:
        """Ends all endless streams, and refuses new ones."""
        self.stopping.set()
        for task in list(self.streams):
            task.cancel()

    def lock(self, container_id: str) -> asyncio.Lock:
        """Returns the lock that orders start, restart and removal of one container within this process."""
        lock = self.locks.get(container_id)
        if lock is None:
            lock = self.locks[container_id] = asyncio.Lock()
        return lock

    def holder(self, container_id: str) -> str:
        """Returns the lease holder's name of a container."""
        return f"{self.node}/{container_id}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the services are."""

    images: str
    containers: str
    networks: str
    logs: str


@asynccontextmanager
async def connected(
    addresses: Addresses,
    *,
    node: str,
    root: str,
    builds: Builds,
    tls: Tls | None = None,
    image_store: str = "",
    log_router: str = "",
) -> AsyncIterator[Peers]:
    """Opens a channel to each service; they connect when first used. Ends what work is still under way when left."""
    async with AsyncExitStack() as stack:
        channels: dict[str, grpc.aio.Channel] = {}
        for name in ("images", "containers", "networks", "logs"):
            channels[name] = await stack.enter_async_context(open_channel(getattr(addresses, name), tls))
        tasks = await stack.enter_async_context(Tasks())
        yield Peers(
            images=ImagesServiceStub(channels["images"]),
            containers=ContainersServiceStub(channels["containers"]),
            execs=ExecsServiceStub(channels["containers"]),
            volumes=VolumesServiceStub(channels["containers"]),
            networks=NetworksServiceStub(channels["networks"]),
            logs=LogsServiceStub(channels["logs"]),
            node=node,
            image_store=image_store,
            log_router=log_router,
            root=root,
            tasks=tasks,
            builds=builds,
        )
