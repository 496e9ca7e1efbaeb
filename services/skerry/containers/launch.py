"""One start: from a record and a sandbox to a running process, each step undone when a later one fails."""

import asyncio
import time
from typing import Any

import msgspec

from skerry.api.networks.v1 import networks_pb2
from skerry.containers import devices, mounts, oci, sources, users
from skerry.containers.cgroup import cgroup_path
from skerry.containers.container import Container
from skerry.containers.devices import refuse_device_requests
from skerry.containers.inside import make_directories
from skerry.containers.layers.mounts import mount_shm
from skerry.containers.merge import command_of
from skerry.containers.monitors import CreateFailed, Job, Monitor
from skerry.containers.oci_mounts import DEFAULT_SHM_SIZE, SHM_PATH
from skerry.containers.shipper import Target
from skerry.containers.start_failure import explain
from skerry.containers.state import Launched, Phase, StartAsked, StartFailed
from skerry.core import failpoints
from skerry.core.errors import Conflict, Failed, InvalidArgument, SkerryError
from skerry.core.files import write_atomic

failpoints.declare("containers.start", "recorded", "mounted", "prepared", "launched", "created", "started")

_CANNOT_START = 128


async def start(
    container: Container, run: int, sandbox: networks_pb2.Sandbox, pid_namespace_of: Container | None, ipc_namespace_of: Container | None
) -> None:
    """Starts that run. A repeated call for a run that already happened returns as the first did.

    Raises NotModified, Conflict, InvalidArgument (the command cannot be executed, among others), Failed.
    """
    async with container.operation:
        state = container.state
        if run and run == state.run and (state.active or state.phase is Phase.EXITED):
            return
        await container.cleaned_up()
        await container.apply(
            StartAsked(run),
            sandbox=sandbox.SerializeToString(),
            pid_container_id=pid_namespace_of.id if pid_namespace_of else "",
            ipc_container_id=ipc_namespace_of.id if ipc_namespace_of else "",
            boot_id=container.environment.boot_id,
            engine_start=container.environment.engine_start,
        )
        container.execs.clear()
        await run_process(container, pid_namespace_of, ipc_namespace_of)


async def run_process(container: Container, pid_namespace_of: Container | None, ipc_namespace_of: Container | None) -> None:
    """Brings the process up for a record that is `starting`. On failure nothing is left of it, and the record says why."""
    run = container.state.run
    try:
        monitor, pid, started_ns = await _bring_up(container, run, pid_namespace_of, ipc_namespace_of)
    except BaseException as error:
        failure = _failure(container, error)
        container.failed_starts += 1
        await container.apply(StartFailed(failure[0], str(failure[1]), time.time_ns()))
        await container.cleaned_up()
        if isinstance(error, (SkerryError, CreateFailed, OSError)):
            raise failure[1] from error
        raise
    # Whoever waits for the running process wants to write to it.
    container.monitor = monitor
    cgroup = cgroup_path(container.id, container.spec.cgroup_parent, container.environment.host.cgroup_driver)
    await container.apply(Launched(pid, started_ns), cgroup=cgroup)
    container.watch_exit(monitor, run)


def _failure(container: Container, error: BaseException) -> tuple[int, SkerryError]:
    if isinstance(error, CreateFailed):
        explained = explain(error.text, command_of(container.spec)[0])
        return explained.exit_code, (InvalidArgument if explained.by_request else Failed)(explained.message)
    if isinstance(error, SkerryError):
        return _CANNOT_START, error
    return _CANNOT_START, Failed(str(error) or type(error).__name__)


async def _bring_up(
    container: Container, run: int, pid_namespace_of: Container | None, ipc_namespace_of: Container | None
) -> tuple[Monitor, int, int]:
    environment, record = container.environment, container.record
    environment.cgroup_moves.expect()
    await failpoints.reached("containers.start.recorded")
    rootfs = await environment.layers.mount_rootfs(container.directory, record.layer_messages())
    await failpoints.reached("containers.start.mounted")
    refuse_device_requests(container.spec)
    pid_namespace, ipc_namespace = _pid_namespace(pid_namespace_of), _ipc_namespace(ipc_namespace_of)
    await sources.prepare(container, tell=True)
    shm_path = await asyncio.to_thread(_shared_memory, ipc_namespace_of) if ipc_namespace_of else ""
    if netns := record.sandbox_message().netns_path:
        await asyncio.to_thread(environment.outside.show_namespace, netns)
    config = await asyncio.to_thread(_prepare, container, rootfs, (pid_namespace, ipc_namespace, shm_path))
    await failpoints.reached("containers.start.prepared")
    # Before the process: from now on its output is held for the router.
    await environment.shipper.add(ship_target(container, run))
    monitor = await environment.monitors.launch(_job(container, run))
    try:
        await failpoints.reached("containers.start.launched")
        pid = await monitor.create()
        if container.runtime == environment.runtime:
            environment.filters.learn(config, container.id)
        await failpoints.reached("containers.start.created")
        # Taken before: the process may end before the answer comes, and no end is earlier than its start.
        started_ns = time.time_ns()
        await monitor.start()
        await failpoints.reached("containers.start.started")
    except BaseException:
        # The runtime's delete, run by the clean-up, ends the process; the monitor ends with it.
        container.monitor = monitor
        raise
    return monitor, pid, started_ns


def _pid_namespace(other: Container | None) -> str:
    if other is None:
        return ""
    if other.state.phase is not Phase.RUNNING:
        raise Conflict(f"cannot join PID of a non running container: {other.id}")
    return f"/proc/{other.state.pid}/ns/pid"


def _ipc_namespace(other: Container | None) -> str:
    if other is None:
        return ""
    if other.state.phase is not Phase.RUNNING:
        raise Conflict(f"can't join IPC of container {other.id}: container {other.id} is not running")
    return f"/proc/{other.state.pid}/ns/ipc"


def _shared_memory(other: Container) -> str:
    """Returns the host path of what a running container has on /dev/shm. Raises Conflict when it is its own alone. Blocks for a file."""
    with open(f"{other.directory}/config.json", "rb") as file:
        mounted: list[dict[str, Any]] = msgspec.json.decode(file.read())["mounts"]
    for entry in mounted:
        if entry["destination"] == SHM_PATH and entry["type"] == "bind":
            return str(entry["source"])
    raise Conflict(f"can't join IPC of container {other.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)")


def _prepare(container: Container, rootfs: str, namespaces: tuple[str, str, str]) -> bytes:
    """Writes config.json; returns it as it was before the system call filter was replaced by its compiled form."""
    record, spec, host = container.record, container.spec, container.environment.host
    pid_namespace, ipc_namespace, shm_path = namespaces
    if spec.ipc_mode == "shareable":
        shm_path = f"{container.directory}/shm"
        mount_shm(shm_path, spec.shm_size or DEFAULT_SHM_SIZE)
    user = users.resolve(rootfs, spec.user, list(spec.group_add))
    if spec.working_dir:
        make_directories(rootfs, spec.working_dir)
    document = oci.build(
        oci.SpecInputs(
            id=record.id,
            spec=spec,
            rootfs=rootfs,
            args=command_of(spec),
            env=list(spec.env),
            user=user,
            sandbox=record.sandbox_message(),
            host=host,
            mounts=mounts.resolved(sources.effective(container)),
            devices=devices.resolve(spec.devices, privileged=spec.privileged),
            block_devices=devices.block_devices(spec.resources),
            pid_namespace=pid_namespace,
            ipc_namespace=ipc_namespace,
            shm_path=shm_path,
        )
    )
    filtered = container.environment.filters.apply(document) if container.runtime == container.environment.runtime else document
    write_atomic(f"{container.directory}/config.json", filtered, sync=False)
    return document


def _job(container: Container, run: int) -> Job:
    environment, spec, directory = container.environment, container.spec, container.directory
    pid_file = f"{directory}/pid"
    console = f"{directory}/console.sock" if spec.tty else None
    return Job(
        directory=directory,
        create=container.runtime.create(container.id, directory, pid_file, console),
        start=container.runtime.start(container.id),
        pid_file=pid_file,
        tty=spec.tty,
        stdin=spec.open_stdin,
        spool=container.spool,
        run=run,
        quota=environment.quota,
        blocking=container.record.log_message().options.get("mode", "blocking") != "non-blocking",
        rows=spec.console_height,
        columns=spec.console_width,
        end_frame=True,
        drain_seconds=environment.drain_seconds,
    )


def ship_target(container: Container, run: int) -> Target:
    """Returns what the log router is told of a container, for the run that is about to begin or the last one."""
    record, spec, log = container.record, container.spec, container.record.log_message()
    return Target(
        container_id=container.id,
        spool=container.spool,
        router=log.router or container.environment.router,
        run=run,
        driver=log.driver or "none",
        options=dict(log.options),
        container_name=record.name,
        image_id=record.image_id,
        image_name=record.image_name,
        command=" ".join(command_of(spec)),
        labels=dict(spec.labels),
        env=list(spec.env),
        created_ns=record.created_ns,
    )
