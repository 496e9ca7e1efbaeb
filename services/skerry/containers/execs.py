"""The node's execs: made, found, forgotten, and found again after a restart of the service."""

import asyncio
import os
import shutil

import msgspec

from skerry.api.containers.v1 import execs_pb2
from skerry.containers.container import Container, find_monitor
from skerry.containers.exec import Exec, ExecRecord
from skerry.containers.holds import keep_holds
from skerry.containers.monitors import Exit, Monitor
from skerry.containers.node import Node
from skerry.containers.state import Phase
from skerry.core.errors import Conflict, InvalidArgument, NotFound
from skerry.core.ids import new_id

# Ended ones that are still known, and all, per container.
_ENDED_KEPT = 100
_MOST = 1000
_LARGEST_SPEC = 1 << 20


class Execs:
    """Records live in memory, and as exec.json beside the monitor from their start on."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._execs: dict[str, Exec] = {}

    def find(self, exec_id: str) -> Exec:
        """Raises NotFound in Docker's words."""
        found = self._execs.get(exec_id)
        if found is None or found.container.execs.get(exec_id) is not found:
            self._execs.pop(exec_id, None)
            raise NotFound(f"No such exec instance: {exec_id}")
        return found

    async def create(self, text: str, spec: execs_pb2.ExecSpec) -> Exec:
        """Makes a record. Raises NotFound, Conflict, InvalidArgument."""
        container = self._node.find(text)
        check_runs(container, text)
        if not spec.cmd:
            raise InvalidArgument("No exec command specified")
        if spec.ByteSize() > _LARGEST_SPEC:
            raise InvalidArgument("the exec's configuration is too large")
        if any("\0" in word for word in (*spec.cmd, *spec.env, spec.user, spec.working_dir)):
            raise InvalidArgument("the exec's configuration contains a null byte")
        self._forget_oldest(container)
        new = Exec(container, ExecRecord(id=new_id(), spec=spec.SerializeToString()))
        self._execs[new.record.id] = container.execs[new.record.id] = new
        await new.publish("exec_create")
        return new

    def _forget_oldest(self, container: Container) -> None:
        ended = sorted((each for each in container.execs.values() if not each.running and each.finished_at), key=lambda e: e.finished_at)
        for each in ended[: max(0, len(ended) - _ENDED_KEPT + 1)]:
            self._drop(each)
        if len(container.execs) >= _MOST:
            waiting = next((each for each in container.execs.values() if not each.record.started), None)
            if waiting is None:
                raise Conflict(f"Container {container.id} has {_MOST} execs that run")
            self._drop(waiting)

    def _drop(self, each: Exec) -> None:
        each.container.execs.pop(each.record.id, None)
        self._execs.pop(each.record.id, None)

    async def adopt(self, container: Container) -> None:
        """Finds a container's execs after a restart of the service; running ones are followed again."""
        base = f"{container.directory}/execs"
        for name in await asyncio.to_thread(lambda: sorted(os.listdir(base)) if os.path.isdir(base) else []):
            record = await asyncio.to_thread(_read, f"{base}/{name}")
            if record is None or not record.started:
                await asyncio.to_thread(shutil.rmtree, f"{base}/{name}", ignore_errors=True)
                continue
            found = Exec(container, record)
            self._execs[record.id] = container.execs[record.id] = found
            await keep_holds(self._node.environment, found.spool)
            if found.running:
                await self._follow(found)
            else:
                _ = self._node.environment.tasks.spawn(found.retire(), f"exec {record.id[:12]}")

    async def _follow(self, found: Exec) -> None:
        monitors = self._node.environment.monitors
        one = await monitors.adopt(found.directory)
        match one if one is not None else await find_monitor(monitors, found.directory, -1):
            case Monitor() as monitor if monitor.pid:
                found.watch(monitor)
            case Exit(code=code):
                await found.finish(code)
            case Monitor() as monitor:
                await monitor.close()
                await found.lost()
            case None:
                await found.lost()


def check_runs(container: Container, text: str) -> None:
    """Raises Conflict in Docker's words unless an exec can start in the container."""
    match container.state.phase:
        case Phase.RUNNING:
            return
        case Phase.PAUSED:
            raise Conflict(f"Container {text} is paused, unpause the container before exec")
        case Phase.RESTARTING:
            raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
        case _:
            raise Conflict(f"Container {container.id} is not running")


def _read(directory: str) -> ExecRecord | None:
    try:
        with open(f"{directory}/exec.json", "rb") as file:
            return msgspec.json.decode(file.read(), type=ExecRecord)
    except (OSError, msgspec.DecodeError):
        return None
