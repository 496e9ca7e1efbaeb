"""At the service's start: records and kernel are brought together. Nothing that runs is disturbed; nothing half-made stays."""

import asyncio
import logging
import os
import shutil
import time

from skerry.containers import consoles, mounts
from skerry.containers.cgroup import oom_kills
from skerry.containers.commit import thaw
from skerry.containers.container import Container, find_monitor
from skerry.containers.execs import Execs
from skerry.containers.holds import keep_holds
from skerry.containers.launch import ship_target
from skerry.containers.monitors import Exit, Monitor
from skerry.containers.node import Node
from skerry.containers.state import Booted, Exited, Lost, PauseOver, Phase
from skerry.core.errors import Failed
from skerry.core.ids import is_id

_log = logging.getLogger(__name__)
# A monitor that follows a process by its pidfd alone takes about a second to be sure of its exit code.
_TOLD_SECONDS, _TOLD_PAUSE = 3.0, 0.05


async def reconcile(node: Node, execs: Execs) -> None:
    """Adopts what runs, records what ended meanwhile, undoes half-made creates and starts, goes on with removals."""
    environment = node.environment
    records = await environment.store.all()
    await environment.volumes.load(records)
    consoles.forget_all(environment.runtime)
    containers = [node.adopt(record) for record in records]
    for container in containers:
        environment.volumes.adopt(container.record, running=container.state.active)
    await _remove_strangers(node)
    await asyncio.gather(*(_one(node, execs, container) for container in containers))
    live = {container.directory for container in containers if container.state.active or container.state.phase is Phase.STARTING}
    await environment.layers.reconcile(live)
    using = {
        container.id for container in containers if container.state.active or container.state.phase in (Phase.STARTING, Phase.RESTARTING)
    }
    _ = environment.tasks.spawn(environment.volumes.end_uses(environment.volumes.left_uses(using)), "volumes' uses")


async def _one(node: Node, execs: Execs, container: Container) -> None:
    await keep_holds(node.environment, container.spool)
    match container.state.phase:
        case Phase.RUNNING | Phase.PAUSED:
            await _running(container)
        case Phase.STARTING:
            await _undo_start(container)
        case Phase.RESTARTING:
            if container.has_sandbox():
                _ = node.environment.tasks.spawn(_restart(container), f"restart {container.id[:12]}")
            else:
                await container.apply(Lost(time.time_ns()))
        case Phase.REMOVING:
            _ = node.environment.tasks.spawn(node.finish_removal(container, volumes=False), f"remove {container.id[:12]}")
            return
        case Phase.EXITED | Phase.CREATED | Phase.DEAD:
            await _ended(node, container)
    await execs.adopt(container)
    if container.state.run:
        await node.environment.shipper.add(ship_target(container, container.state.run))


async def _running(container: Container) -> None:
    environment, run = container.environment, container.state.run
    found = await environment.monitors.adopt(container.directory)
    if found is None and container.record.boot_id == environment.boot_id:
        found = await find_monitor(environment.monitors, container.directory, -1)
    match found:
        case Monitor() as monitor:
            container.watch_exit(monitor, run)
            await thaw(container)
            await _told_its_end(container)
        case Exit(code=code, time_ns=time_ns, run=ended, error=error) if ended == run:
            oom, sandbox = oom_kills(container.cgroup) > 0, container.has_sandbox()
            await container.apply(Exited(run, code, time_ns, oom, error, sandbox))
        case _:
            _log.warning("a container has no monitor any more", extra={"container": container.id})
            sandbox = container.has_sandbox()
            _ = environment.tasks.spawn(container.follow_process(sandbox=sandbox), f"follow {container.id[:12]}")


async def _told_its_end(container: Container) -> None:
    """Waits, a moment only, until the end of a process that is gone already is told: nobody shall be answered that it runs."""
    pid = container.state.pid
    for _ in range(int(_TOLD_SECONDS / _TOLD_PAUSE)):
        if not container.state.active or container.state.pid != pid or os.path.exists(f"/proc/{pid}"):
            return
        await asyncio.sleep(_TOLD_PAUSE)


async def _undo_start(container: Container) -> None:
    """A start that no caller got an answer for: the caller asks again."""
    if isinstance(monitor := await container.environment.monitors.adopt(container.directory), Monitor):
        container.monitor = monitor
    await container.apply(Lost(time.time_ns(), sandbox=container.has_sandbox()))
    await container.cleaned_up()


async def _restart(container: Container) -> None:
    async with container.operation:
        await container.runtime.delete(container.id)
        await container.apply(PauseOver())


async def _ended(node: Node, container: Container) -> None:
    try:
        # A kill of this service between the exit's record and the clean-up leaves these.
        if await container.runtime.state(container.id) is not None:
            await container.runtime.delete(container.id)
    except Failed as error:
        _log.warning("cannot clean up after an ended container", extra={"container": container.id, "error": str(error)})
    if not container.state.settled:
        node.settlement.ended(container.ended_message(container.state.run))
    here = (node.environment.boot_id, node.environment.engine_start)
    if container.record.boot_id and (container.record.boot_id, container.record.engine_start) != here:
        await container.apply(Booted(), boot_id=node.environment.boot_id, engine_start=node.environment.engine_start)


async def _remove_strangers(node: Node) -> None:
    """Removes directories and runtime records that no container owns: creates and removals that were cut short."""
    base, runtimes = f"{node.environment.root}/runtime", node.environment.runtimes.used()
    known = {container.id for container in node}
    for name in await asyncio.to_thread(os.listdir, base):
        if is_id(name) and name not in known:
            for runtime in runtimes:
                await runtime.delete(name)
            await asyncio.to_thread(_remove, f"{base}/{name}")
    for runtime in runtimes:
        for name in await asyncio.to_thread(os.listdir, runtime.directory):
            if is_id(name) and name not in known:
                await runtime.delete(name)


def _remove(directory: str) -> None:
    mounts.unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)
