"""What create refuses, in Docker's words. Pure: what depends on the host beyond a CPU count is checked where the host is known."""

import posixpath
import re

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers import health
from skerry.core.errors import InvalidArgument
from skerry.core.signals import parse_signal, supported

_LEAST_MEMORY = 6 << 20
_LEAST_KERNEL_PERIOD, _MOST_KERNEL_PERIOD = 1_000, 1_000_000
_LEAST_QUOTA = 1_000
# Docker has no limits here; the document must stay one that a database and a message carry.
_MOST_ENTRIES = 10_000
_LONGEST_TEXT = 1 << 20
_CPUSET = re.compile(r"(\d+(-\d+)?)(,\d+(-\d+)?)*\Z")
_PROPAGATIONS = {"", "private", "rprivate", "shared", "rshared", "slave", "rslave"}


def validate_spec(spec: pb.ContainerSpec, cpus: int) -> list[str]:
    """Checks a merged spec and returns warnings; oci.validate checks the rest. Raises InvalidArgument."""
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
    return _resources(spec.resources, cpus)


def _sizes(spec: pb.ContainerSpec) -> None:
    for field in (spec.env, spec.mounts, spec.exposed_ports, spec.volumes, spec.labels, spec.entrypoint.values, spec.cmd.values):
        if len(field) > _MOST_ENTRIES:
            raise InvalidArgument(f"too many entries in the container's configuration: {len(field)}, at most {_MOST_ENTRIES}")
    if spec.ByteSize() > 4 * _LONGEST_TEXT:
        raise InvalidArgument("the container's configuration is too large")
    for word in (*spec.entrypoint.values, *spec.cmd.values):
        if "\0" in word:
            raise InvalidArgument("invalid command: it contains a null byte")


def _restart_policy(spec: pb.ContainerSpec) -> None:
    policy = spec.restart_policy
    match policy.name:
        case "always" | "unless-stopped" | "no":
            if policy.maximum_retry_count:
                raise InvalidArgument(f"maximum retry count cannot be used with restart policy '{policy.name}'")
        case "on-failure" | "":
            pass
        case _:
            raise InvalidArgument(f"invalid restart policy '{policy.name}'")
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


def _resources(resources: pb.Resources, cpus: int) -> list[str]:
    warnings = _memory(resources)
    if resources.nano_cpus:
        if resources.cpu_period:
            raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set.")
        if resources.cpu_quota:
            raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set.")
        if not 0 < resources.nano_cpus <= cpus * 10**9:
            raise InvalidArgument(f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    if resources.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({resources.cpu_shares}): value must be a positive integer")
    if resources.cpu_period and not _LEAST_KERNEL_PERIOD <= resources.cpu_period <= _MOST_KERNEL_PERIOD:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if resources.cpu_quota > 0 and resources.cpu_quota < _LEAST_QUOTA:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for value, name in ((resources.cpuset_cpus, "cpus"), (resources.cpuset_mems, "mems")):
        if value and not _CPUSET.match(value):
            raise InvalidArgument(f"Invalid value {value} for cpuset {name}")
    if resources.blkio_weight and not 10 <= resources.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    return warnings


def _memory(resources: pb.Resources) -> list[str]:
    memory, swap, reservation = resources.memory, resources.memory_swap, resources.memory_reservation
    if memory and memory < _LEAST_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if resources.HasField("memory_swappiness") and resources.memory_swappiness > 100:
        raise InvalidArgument(f"Invalid value: {resources.memory_swappiness}, valid memory swappiness range is 0-100")
    if reservation and reservation < _LEAST_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if memory > 0 and reservation > memory:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if resources.oom_kill_disable and memory == 0:
        return [
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
        ]
    return []
