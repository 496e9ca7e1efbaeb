"""The container runtime service of one node."""

import asyncio
import os
import resource
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Literal

import msgspec

from skerry.api.containers.v1 import containers_pb2, execs_pb2, volumes_pb2
from skerry.api.containers.v1.containers_pb2_grpc import add_ContainersServiceServicer_to_server
from skerry.api.containers.v1.execs_pb2_grpc import add_ExecsServiceServicer_to_server
from skerry.api.containers.v1.volumes_pb2_grpc import add_VolumesServiceServicer_to_server
from skerry.containers import apparmor
from skerry.containers.cgroup_moves import CgroupMoves
from skerry.containers.environment import Environment, engine_start, read_boot_id
from skerry.containers.exec_service import ExecsService
from skerry.containers.execs import Execs
from skerry.containers.filters import compiled_filters
from skerry.containers.host import host_facts
from skerry.containers.layers.eviction import Evictor
from skerry.containers.layers.store import open_layers
from skerry.containers.layers.tar import Limits
from skerry.containers.monitors import Monitors, ensure_keeper, keeper_command
from skerry.containers.node import Node
from skerry.containers.outside import Outside
from skerry.containers.plugins.volumes import Drivers, Places
from skerry.containers.reconcile import reconcile
from skerry.containers.runtime import probe
from skerry.containers.runtime_program import mounted
from skerry.containers.runtimes import Runtimes
from skerry.containers.service import ContainersService
from skerry.containers.shipper import Shipper
from skerry.containers.store import MIGRATIONS, SqliteContainerStore
from skerry.containers.volume_service import VolumesService
from skerry.containers.volume_store import SqliteVolumeStore
from skerry.containers.volumes import Volumes
from skerry.core import lifecycle, linux, log
from skerry.core.errors import Failed, SkerryError
from skerry.core.journal import Journal
from skerry.core.lifecycle import Tasks, background
from skerry.core.rpc.endpoint import endpoint, tls_of
from skerry.core.settings import Common, from_env
from skerry.core.sqlite import open_database

_KEEPER_SECONDS = 10
_PLACES = Places()


class Settings(Common, frozen=True, kw_only=True):
    """Read from SKERRY_CONTAINERS_*."""

    # Addresses of image store and log router for requests that name none; empty: unix:RUN/<service>.sock.
    images: str = ""
    logs: str = ""
    # Name of this node; empty: the host's name.
    node: str = ""
    # The default runtime, crun or runc; empty: the first that works. Containers may ask for the other one by name.
    runtime: str = ""
    # Who makes containers' cgroups, cgroupfs or systemd; empty: systemd where it runs and cgroups are version 2, as in Docker.
    cgroup_driver: Literal["", "cgroupfs", "systemd"] = ""
    # How layers are mounted: erofs or directories; empty: erofs where the kernel can.
    layers: str = ""
    # Bytes of layers up to which copies stay that no container, and no image of the image store, needs any more.
    layer_cache: Annotated[int, msgspec.Meta(ge=0)] = 0
    # What one layer may have, against tars made to hurt: entries, and names in a path.
    max_layer_entries: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] = 1_000_000
    max_layer_depth: Annotated[int, msgspec.Meta(ge=1, le=900)] = 256
    # Bytes that one container's spool may hold, usually and while its router is away.
    quota: int = 64 << 20
    away_quota: int = 1 << 30
    # Share of the disk that all spools together may take while routers are away.
    disk_share: float = 0.1
    # Seconds that output pipes are waited for when others still hold them after a container's exit.
    drain_output: float = 2.0
    # Bytes that one archive put into a container may unpack to, and seconds for which nothing may move until a copy is ended.
    copy_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 40
    copy_silence: Annotated[float, msgspec.Meta(gt=0)] = 600.0
    # Where plugins are looked for: the directory of their sockets, and those (separated by ":") of files with their addresses.
    plugin_sockets: str = _PLACES.sockets
    plugin_specs: str = ":".join(_PLACES.specs)
    # Seconds for a plugin's answer (twice as many for creating and mounting), and to wait for one that does not listen.
    plugin_timeout: Annotated[float, msgspec.Meta(gt=0)] = _PLACES.timeout
    plugin_patience: Annotated[float, msgspec.Meta(ge=0)] = _PLACES.patience


@asynccontextmanager
async def service(settings: Settings, outside: Outside | None = None) -> AsyncIterator[str]:
    """Runs the service; yields its address. Containers go on when it ends. outside: what enter_mount_namespace returned."""
    os.makedirs(f"{settings.root}/runtime", mode=0o711, exist_ok=True)
    os.makedirs(settings.run, mode=0o711, exist_ok=True)
    await ensure_keeper(settings.run)
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(f"{settings.root}/runtime/containers.db", MIGRATIONS))
        limits = Limits(settings.max_layer_entries, settings.max_layer_depth)
        layers = await stack.enter_async_context(
            open_layers(settings.root, settings.run, form=settings.layers, tls=tls_of(settings), limits=limits)
        )
        shipper = Shipper(tls=tls_of(settings), quota=settings.quota, away_quota=settings.away_quota, disk_share=settings.disk_share)
        await stack.enter_async_context(shipper)
        host = host_facts(settings.cgroup_driver)
        if host.apparmor:
            host = msgspec.structs.replace(host, apparmor_default=await apparmor.load_default())
        runtime = await probe(settings.run, settings.runtime, cgroup_driver=host.cgroup_driver)
        runtime = await asyncio.to_thread(mounted, runtime, settings.run)
        journal = Journal(database)
        outside = outside or Outside()
        drivers = Drivers(_plugin_places(settings), outside)
        tasks = await stack.enter_async_context(Tasks())
        environment = Environment(
            root=settings.root,
            node=settings.node or socket.gethostname(),
            boot_id=read_boot_id(),
            engine_start=await asyncio.to_thread(engine_start, settings.run),
            quota=settings.quota,
            drain_seconds=settings.drain_output,
            copy_bytes=settings.copy_bytes,
            copy_silence=settings.copy_silence,
            image_store=settings.images or f"unix:{settings.run}/images.sock",
            router=settings.logs or f"unix:{settings.run}/logs.sock",
            host=host,
            outside=outside,
            volume_drivers=drivers,
            runtimes=Runtimes(settings.run, runtime),
            filters=await compiled_filters(runtime),
            layers=layers,
            monitors=Monitors(f"{settings.run}/keeper.sock"),
            shipper=shipper,
            store=SqliteContainerStore(database),
            volumes=Volumes(settings.root, SqliteVolumeStore(database), journal, outside, drivers),
            journal=journal,
            tasks=tasks,
            cgroup_moves=CgroupMoves(tasks),
            stopping=stopping,
        )
        node = Node(environment)
        execs = Execs(node)
        await reconcile(node, execs)
        register = [
            partial(add_ContainersServiceServicer_to_server, ContainersService(node)),
            partial(add_ExecsServiceServicer_to_server, ExecsService(execs)),
            partial(add_VolumesServiceServicer_to_server, VolumesService(environment.volumes)),
        ]
        names = [
            containers_pb2.DESCRIPTOR.services_by_name["ContainersService"].full_name,
            execs_pb2.DESCRIPTOR.services_by_name["ExecsService"].full_name,
            volumes_pb2.DESCRIPTOR.services_by_name["VolumesService"].full_name,
        ]
        evictor = Evictor(layers, node.layers_in_use, environment.image_store, limit=settings.layer_cache)
        await stack.enter_async_context(background(evictor.run()))
        yield await stack.enter_async_context(endpoint(settings, "containers", register, names, stopping))


def _plugin_places(settings: Settings) -> Places:
    return Places(
        sockets=settings.plugin_sockets,
        specs=tuple(place for place in settings.plugin_specs.split(":") if place),
        timeout=settings.plugin_timeout,
        patience=settings.plugin_patience,
    )


def start_keeper(run: str) -> None:
    """Sees to it that a keeper answers, without a thread: entering a mount namespace allows only one. Raises Failed."""
    # It exits at once when there is one already.
    started = subprocess.run(keeper_command(run, detach=True), capture_output=True, text=True, timeout=30, check=False)
    deadline = time.monotonic() + _KEEPER_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            try:
                connection.connect(f"{run}/keeper.sock")
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failed(f"the keeper of the containers' monitors does not answer: {error}; {started.stderr.strip()}") from None
        time.sleep(0.02)


def enter_mount_namespace(run: str) -> Outside:
    """Enters the mount namespace that the keeper pinned, if it did; returns the one it left.

    Only while the process has one thread. Raises OSError.
    """
    path = f"{run}/ns/mnt"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Outside()
    try:
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(fd, linux.CLONE_NEWNS)
    finally:
        os.close(fd)
    return Outside(root, outside)


def main() -> None:
    """Reads the settings and runs until SIGTERM."""
    try:
        settings = from_env(Settings, "SKERRY_CONTAINERS_")
        log.configure("containers", settings.log_level, settings.log_format)
        start_keeper(settings.run)
    except SkerryError as error:
        raise SystemExit(f"error: {error}") from None
    # A container takes up to six: its monitor's connection, a pidfd, its spool's readers.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    outside = enter_mount_namespace(settings.run)
    lifecycle.run(service(settings, outside))


if __name__ == "__main__":
    main()
