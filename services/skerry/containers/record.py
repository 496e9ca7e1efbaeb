"""What the node remembers of a container, and how it looks on the wire."""

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.containers import health as health_checks
from skerry.containers.cgroup import cgroup_path
from skerry.containers.health import Health
from skerry.containers.merge import command_of
from skerry.containers.state import Phase, State


class Layer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image layer, lowest first in lists."""

    diff_id: str
    chain_id: str
    size: int


class Volume(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mount as it was resolved at create."""

    type: str
    source: str
    target: str
    name: str = ""
    read_only: bool = False
    propagation: str = ""
    mode: str = ""
    options: tuple[str, ...] = ()
    non_recursive: bool = False
    # Nobody named it: rm -v removes it.
    anonymous: bool = False
    # The image's content is still to be copied in, at the first start.
    copy_up: bool = False
    # Of a volume; empty: local.
    driver: str = ""
    # Below the volume's root.
    subpath: str = ""
    # Read-only with all that is mounted below: "" (not), "if-possible" or "force".
    recursively_read_only: str = ""

    @property
    def by_plugin(self) -> bool:
        """Tells whether a plugin has the volume."""
        return self.type == "volume" and self.driver not in ("", "local")


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One container. What a start or an update changes is said there, name, state and health change; the rest is fixed at create."""

    id: str
    name: str
    created_ns: int
    state: State
    # Serialized protobuf messages: they grow without a migration.
    spec: bytes
    log: bytes
    layers: tuple[Layer, ...]
    image_id: str
    image_name: str
    runtime: str = ""
    mounts: tuple[Volume, ...] = ()
    docker_config_json: str = ""
    docker_host_config_json: str = ""
    docker_networking_config_json: str = ""
    # Serialized sandbox of the current run.
    sandbox: bytes = b""
    # Full ids whose pid and ipc namespaces the current run shares.
    pid_container_id: str = ""
    ipc_container_id: str = ""
    # /proc/sys/kernel/random/boot_id of the last start.
    boot_id: str = ""
    # The engine's start (see environment.engine_start) in which that was, or which was told to it since.
    engine_start: str = ""
    # None: not checked, or never started.
    health: Health | None = None
    # Path below the cgroup hierarchies' roots, of the last start; empty: as cgroupfs makes it.
    cgroup: str = ""

    def spec_message(self) -> pb.ContainerSpec:
        """Returns the merged spec."""
        return pb.ContainerSpec.FromString(self.spec)

    def log_message(self) -> pb.LogTarget:
        """Returns where the output goes."""
        return pb.LogTarget.FromString(self.log)

    def sandbox_message(self) -> networks_pb2.Sandbox:
        """Returns the sandbox of the current run; empty before the first."""
        return networks_pb2.Sandbox.FromString(self.sandbox)

    def layer_messages(self) -> list[images_pb2.Layer]:
        """Returns the image's layers, lowest first."""
        return [images_pb2.Layer(diff_id=layer.diff_id, chain_id=layer.chain_id, size=layer.size) for layer in self.layers]


_STATUS = {
    Phase.CREATED: pb.STATUS_CREATED,
    Phase.RUNNING: pb.STATUS_RUNNING,
    Phase.PAUSED: pb.STATUS_PAUSED,
    Phase.RESTARTING: pb.STATUS_RESTARTING,
    Phase.EXITED: pb.STATUS_EXITED,
    Phase.REMOVING: pb.STATUS_REMOVING,
    Phase.DEAD: pb.STATUS_DEAD,
}


def status_of(state: State) -> pb.Status:
    """Returns Docker's status; one that is just starting still shows what it was before."""
    if state.phase is Phase.STARTING:
        if state.by_policy:
            return pb.STATUS_RESTARTING
        return pb.STATUS_EXITED if state.started_ns else pb.STATUS_CREATED
    return _STATUS[state.phase]


def state_message(state: State) -> pb.State:
    """Returns the wire's view of a state."""
    return pb.State(
        status=status_of(state),
        pid=state.pid,
        exit_code=state.exit_code,
        error=state.error,
        oom_killed=state.oom_killed,
        started_ns=state.started_ns,
        finished_ns=state.finished_ns,
        run=state.run,
        settled_run=state.settled_run,
        restart_count=state.restart_count,
        needs_sandbox=state.needs_sandbox,
    )


def container_message(record: Record, graph_driver: dict[str, str], exec_ids: list[str]) -> pb.Container:
    """Returns the wire's view of a record."""
    spec = record.spec_message()
    command = command_of(spec)
    state = state_message(record.state)
    if record.health is not None:
        state.health.CopyFrom(health_checks.message(record.health))
    return pb.Container(
        id=record.id,
        name=record.name,
        created_ns=record.created_ns,
        image_id=record.image_id,
        image_name=record.image_name,
        spec=spec,
        state=state,
        path=command[0] if command else "",
        args=command[1:],
        log=record.log_message(),
        mount_points=[_mount_point(mount) for mount in record.mounts],
        graph_driver=graph_driver,
        graph_driver_name="overlay2",
        docker_config_json=record.docker_config_json,
        docker_host_config_json=record.docker_host_config_json,
        docker_networking_config_json=record.docker_networking_config_json,
        exec_ids=exec_ids,
        runtime=record.runtime,
        cgroup_path=record.cgroup or cgroup_path(record.id, spec.cgroup_parent, "cgroupfs"),
        manually_stopped=record.state.manually_stopped,
    )


def _mount_point(mount: Volume) -> pb.MountPoint:
    return pb.MountPoint(
        type=mount.type,
        name=mount.name,
        source=mount.source,
        destination=mount.target,
        driver=(mount.driver or "local") if mount.type == "volume" else "",
        mode=mount.mode,
        read_write=not mount.read_only,
        propagation=mount.propagation,
    )
