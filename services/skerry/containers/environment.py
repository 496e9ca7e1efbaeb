"""What every container of the node works with, made once in __main__."""

import asyncio
import dataclasses
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from skerry.containers.cgroup_moves import CgroupMoves
from skerry.containers.filters import CompiledFilters
from skerry.containers.host import HostFacts
from skerry.containers.layers.store import Layers
from skerry.containers.monitors import Monitors
from skerry.containers.outside import Outside
from skerry.containers.plugins.volumes import Drivers
from skerry.containers.runtime import Runtime
from skerry.containers.runtimes import Runtimes
from skerry.containers.shipper import Shipper
from skerry.containers.store import ContainerStore
from skerry.containers.volumes import Volumes
from skerry.core.errors import SkerryError, exhausted
from skerry.core.ids import new_id
from skerry.core.journal import Journal
from skerry.core.lifecycle import Tasks

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """The parts of a running node, and its settings."""

    root: str
    node: str
    boot_id: str
    engine_start: str
    quota: int
    drain_seconds: float
    copy_bytes: int
    copy_silence: float
    image_store: str
    router: str
    host: HostFacts
    outside: Outside
    runtimes: Runtimes
    filters: CompiledFilters
    layers: Layers
    monitors: Monitors
    shipper: Shipper
    store: ContainerStore
    volumes: Volumes
    volume_drivers: Drivers
    journal: Journal
    tasks: Tasks
    cgroup_moves: CgroupMoves
    stopping: asyncio.Event

    @property
    def runtime(self) -> Runtime:
        """The default runtime; a container's own is Container.runtime."""
        return self.runtimes.default

    def directory(self, container_id: str) -> str:
        """Returns where a container's own files lie."""
        return f"{self.root}/runtime/{container_id}"

    async def finish(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Runs work to its end even when the caller goes away meanwhile; what it raises rises here."""

        async def body() -> tuple[T | None, SkerryError | None]:
            try:
                return await work, None
            except SkerryError as error:
                return None, error
            except OSError as error:
                if (refusal := exhausted(error)) is None:
                    raise
                return None, refusal

        result, error = await asyncio.shield(self.tasks.spawn(body(), name))
        if error is not None:
            raise error
        return cast("T", result)


def engine_start(run: str) -> str:
    """Returns what identifies this start of the engine: the same however often its services die and come back.

    The file lives in the run-time directory, so a reboot ends it; `skerry up` takes it away when it is told to stop.
    """
    path = f"{run}/engine"
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(new_id())
    except FileExistsError:
        pass
    with open(path, encoding="ascii") as file:
        return file.read()


def read_boot_id() -> str:
    """Returns what identifies this boot of the host."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
