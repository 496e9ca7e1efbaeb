"""What create refuses, in Docker's words. Pure: what depends on the host is checked where the host is known."""

import posixpath

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers import health
from skerry.core.errors import InvalidArgument
from skerry.core.signals import parse_signal, supported

# Docker has no limits here; the document must stay one that a database and a message carry.
_MOST_ENTRIES = 10_000
_LONGEST_TEXT = 1 << 20
_PROPAGATIONS = {"", "private", "rprivate", "shared", "rshared", "slave", "rslave"}


def validate_spec(spec: pb.ContainerSpec) -> None:
    """Checks a merged spec; limits.check and oci.validate check the rest. Raises InvalidArgument."""
    _sizes(spec)
    for entry in spec.env:
        if not entry or entry.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {entry}")
        if "\0" in entry:
            raise InvalidArgument("invalid environment variable: it contains a null byte")
    if spec.working_dir and not spec.working_dir.startswith("/"):
        raise InvalidArgument(f"The working directory '{spec.working_dir}' is invalid. It needs to be an absolute path")
    if spec.stop_signal:
        supported(parse_signal(spec.stop_signal))
    if spec.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= spec.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {spec.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    health.validate(spec.healthcheck_json)
    _restart_policy(spec)
    _modes(spec)
    _mounts(spec)


def _sizes(spec: pb.ContainerSpec) -> None:
    for field in (spec.env, spec.mounts, spec.exposed_ports, spec.volumes, spec.labels, spec.entrypoint.values, spec.cmd.values):
        if len(field) > _MOST_ENTRIES:
            raise InvalidArgument(f"too many entries in the container's configuration: {len(field)}, at most {_MOST_ENTRIES}")
    if spec.ByteSize() > 4 * _LONGEST_TEXT:
        raise InvalidArgument("the container's configuration is too large")
    for word in (*spec.entrypoint.values, *spec.cmd.values):
        if "\0" in word:
            raise InvalidArgument("invalid command: it contains a null byte")


def check_policy(policy: pb.RestartPolicy) -> None:
    """Raises InvalidArgument for a restart policy that there is not."""
    match policy.name:
        case "always" | "unless-stopped" | "no":
            if policy.maximum_retry_count:
                raise InvalidArgument(f"maximum retry count cannot be used with restart policy '{policy.name}'")
        case "on-failure" | "":
            pass
        case _:
            raise InvalidArgument(f"invalid restart policy '{policy.name}'")


def _restart_policy(spec: pb.ContainerSpec) -> None:
    policy = spec.restart_policy
    check_policy(policy)
    if spec.auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def _modes(spec: pb.ContainerSpec) -> None:
    pid, ipc, uts = spec.pid_mode, spec.ipc_mode, spec.uts_mode
    if pid not in ("", "host") and not _joins(pid):
        raise InvalidArgument(f"invalid PID mode: {pid}")
    if ipc not in ("", "none", "private", "shareable", "host") and not _joins(ipc):
        raise InvalidArgument(f"invalid IPC mode: {ipc}")
    if uts not in ("", "host"):
        raise InvalidArgument(f"invalid UTS mode: {uts}")
    if spec.cgroupns_mode not in ("", "host", "private"):
        raise InvalidArgument(f"invalid cgroup namespace mode: {spec.cgroupns_mode}")
    if uts == "host" and spec.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")


def _joins(mode: str) -> bool:
    return mode.startswith("container:") and len(mode) > len("container:")


def _mounts(spec: pb.ContainerSpec) -> None:
    seen: set[str] = set()
    for mount in spec.mounts:
        target = posixpath.normpath(mount.target) if mount.target else ""
        _mount(mount, target)
        if target in seen:
            raise InvalidArgument(f"Duplicate mount point: {target}")
        seen.add(target)


def _mount(mount: pb.Mount, target: str) -> None:
    what = f'invalid mount config for type "{mount.type}"'
    if mount.type not in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f'{what}: mount type unknown: "{mount.type}"' if mount.type else "mount type unknown")
    if not target:
        raise InvalidArgument(f"{what}: field Target must not be empty")
    if not target.startswith("/"):
        raise InvalidArgument(f"{what}: invalid mount path: '{mount.target}' mount path must be absolute")
    if target == "/":
        raise InvalidArgument(f"{what}: invalid specification: destination can't be '/'")
    if "\0" in mount.source + mount.target:
        raise InvalidArgument(f"{what}: a path contains a null byte")
    if mount.type == "bind":
        if not mount.source:
            raise InvalidArgument(f"{what}: field Source must not be empty")
        if not mount.source.startswith("/"):
            raise InvalidArgument(f"{what}: invalid mount path: '{mount.source}' mount path must be absolute")
    if mount.propagation not in _PROPAGATIONS:
        raise InvalidArgument(f"{what}: invalid propagation mode: {mount.propagation}")
    if mount.type == "tmpfs" and mount.source:
        raise InvalidArgument(f"{what}: field Source must not be specified")
