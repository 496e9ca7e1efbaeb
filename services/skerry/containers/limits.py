"""What this kernel can limit, and what is said of limits that it cannot set or that make no sense: Docker's rules and texts."""

import os

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument

_LEAST_MEMORY = 6 << 20
_LEAST_PERIOD, _MOST_PERIOD = 1_000, 1_000_000
_LEAST_QUOTA = 1_000
_MOST_CPU = 8192
_LEAST_WEIGHT, _MOST_WEIGHT = 10, 1000


class KernelLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable facts, by default those of a kernel that can do all."""

    cpus: int = 1
    # As the kernel lists them: "0-3,8".
    cpuset_cpus: str = "0"
    cpuset_mems: str = "0"
    memory: bool = True
    swap: bool = True
    reservation: bool = True
    swappiness: bool = True
    oom_kill_disable: bool = True
    cpu_shares: bool = True
    cpu_cfs: bool = True
    cpu_realtime: bool = True
    cpuset: bool = True
    pids: bool = True
    blkio_weight: bool = True
    blkio_weight_device: bool = True
    blkio_throttle: bool = True


def kernel_limits(version: int, root: str = "/sys/fs/cgroup") -> KernelLimits:
    """Reads what the mounted cgroup hierarchies can. Blocks for about a millisecond."""
    return _version_2(root) if version == 2 else _version_1(root)


def _version_1(root: str) -> KernelLimits:
    def has(path: str) -> bool:
        return os.path.exists(f"{root}/{path}")

    return KernelLimits(
        cpus=os.cpu_count() or 1,
        cpuset_cpus=_text(f"{root}/cpuset/cpuset.cpus"),
        cpuset_mems=_text(f"{root}/cpuset/cpuset.mems"),
        memory=has("memory/memory.limit_in_bytes"),
        swap=has("memory/memory.memsw.limit_in_bytes"),
        reservation=has("memory/memory.soft_limit_in_bytes"),
        swappiness=has("memory/memory.swappiness"),
        oom_kill_disable=has("memory/memory.oom_control"),
        cpu_shares=has("cpu/cpu.shares"),
        cpu_cfs=has("cpu/cpu.cfs_quota_us"),
        cpu_realtime=has("cpu/cpu.rt_runtime_us"),
        cpuset=has("cpuset/cpuset.cpus"),
        pids=has("pids"),
        blkio_weight=has("blkio/blkio.weight"),
        blkio_weight_device=has("blkio/blkio.weight_device"),
        blkio_throttle=has("blkio/blkio.throttle.read_bps_device"),
    )


def _version_2(root: str) -> KernelLimits:
    controllers = set(_text(f"{root}/cgroup.controllers").split())
    memory, cpu, io = "memory" in controllers, "cpu" in controllers, "io" in controllers
    return KernelLimits(
        cpus=os.cpu_count() or 1,
        cpuset_cpus=_text(f"{root}/cpuset.cpus.effective"),
        cpuset_mems=_text(f"{root}/cpuset.mems.effective"),
        memory=memory,
        swap=memory and _swap_is_counted(root),
        reservation=memory,
        swappiness=False,
        oom_kill_disable=False,
        cpu_shares=cpu,
        cpu_cfs=cpu,
        cpu_realtime=False,
        cpuset="cpuset" in controllers,
        pids="pids" in controllers,
        blkio_weight=io,
        blkio_weight_device=io,
        blkio_throttle=io,
    )


def _swap_is_counted(root: str) -> bool:
    # The root cgroup has no such file; any other that has the controller tells. Without one nothing speaks against it.
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir() and os.path.exists(f"{entry.path}/memory.max"):
                return os.path.exists(f"{entry.path}/memory.swap.max")
    return True


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def check(resources: pb.Resources, kernel: KernelLimits) -> list[str]:
    """Takes out of resources what this kernel cannot limit; returns the warnings. Raises InvalidArgument for what makes no sense."""
    warnings: list[str] = []
    _memory(resources, kernel, warnings)
    _pids(resources, kernel, warnings)
    _cpu(resources, kernel, warnings)
    _realtime(resources, kernel)
    _cpuset(resources, kernel, warnings)
    _blkio(resources, kernel, warnings)
    return warnings


def _memory(resources: pb.Resources, kernel: KernelLimits, warnings: list[str]) -> None:
    if resources.memory and resources.memory < _LEAST_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if resources.memory and not kernel.memory:
        warnings.append("Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.")
        resources.memory, resources.memory_swap = 0, -1
    if resources.memory and resources.memory_swap >= 0 and not kernel.swap:
        warnings.append("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.")
        resources.memory_swap = -1
    if 0 < resources.memory_swap < resources.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if resources.memory == 0 and resources.memory_swap > 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    _swappiness(resources, kernel, warnings)
    _reservation(resources, kernel, warnings)
    _oom_killer(resources, kernel, warnings)


def _swappiness(resources: pb.Resources, kernel: KernelLimits, warnings: list[str]) -> None:
    if not resources.HasField("memory_swappiness"):
        return
    if not kernel.swappiness:
        warnings.append(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded."
        )
        resources.ClearField("memory_swappiness")
    elif resources.memory_swappiness > 100:
        raise InvalidArgument(f"Invalid value: {resources.memory_swappiness}, valid memory swappiness range is 0-100")


def _reservation(resources: pb.Resources, kernel: KernelLimits, warnings: list[str]) -> None:
    if resources.memory_reservation > 0 and not kernel.reservation:
        warnings.append("Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.")
        resources.memory_reservation = 0
    if 0 < resources.memory_reservation < _LEAST_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < resources.memory < resources.memory_reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")


def _oom_killer(resources: pb.Resources, kernel: KernelLimits, warnings: list[str]) -> None:
    if not resources.oom_kill_disable:
        return
    if not kernel.oom_kill_disable:
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        resources.oom_kill_disable = False
    elif resources.memory == 0:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
        )


def _pids(resources: pb.Resources, kernel: KernelLimits, warnings: list[str]) -> None:
    if resources.pids_limit > 0 and not kernel.pids:
        warnings.append("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.")
        resources.pids_limit = 0


def _cpu(resources: pb.Resources, kernel: KernelLimits, warnings: list[str]) -> None:
    if resources.nano_cpus:
        for given, what in ((resources.cpu_period, "Period"), (resources.cpu_quota, "Quota")):
            if given:
                raise InvalidArgument(f"Conflicting options: Nano CPUs and CPU {what} cannot both be set")
        if not kernel.cpu_cfs:
            raise InvalidArgument("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted")
        if not 0 < resources.nano_cpus <= kernel.cpus * 10**9:
            raise InvalidArgument(f"Range of CPUs is from 0.01 to {kernel.cpus}.00, as there are only {kernel.cpus} CPUs available")
    if resources.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({resources.cpu_shares}): value must be a positive integer")
    if resources.cpu_shares and not kernel.cpu_shares:
        warnings.append("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.")
        resources.cpu_shares = 0
    if (resources.cpu_period or resources.cpu_quota) and not kernel.cpu_cfs:
        warnings.append("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.")
        resources.cpu_period = resources.cpu_quota = 0
    if resources.cpu_period and not _LEAST_PERIOD <= resources.cpu_period <= _MOST_PERIOD:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < resources.cpu_quota < _LEAST_QUOTA:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def _realtime(resources: pb.Resources, kernel: KernelLimits) -> None:
    period, runtime = resources.cpu_realtime_period, resources.cpu_realtime_runtime
    if (period or runtime) and not kernel.cpu_realtime:
        raise InvalidArgument("Your kernel does not support CPU real-time scheduler")
    if period and runtime > period:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")


def _cpuset(resources: pb.Resources, kernel: KernelLimits, warnings: list[str]) -> None:
    if (resources.cpuset_cpus or resources.cpuset_mems) and not kernel.cpuset:
        warnings.append("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.")
        resources.cpuset_cpus = resources.cpuset_mems = ""
    for asked, available, kind, what in (
        (resources.cpuset_cpus, kernel.cpuset_cpus, "cpus", "CPUs"),
        (resources.cpuset_mems, kernel.cpuset_mems, "mems", "memory nodes"),
    ):
        try:
            wanted = numbers(asked)
        except ValueError as error:
            raise InvalidArgument(f"Invalid value {asked} for cpuset {kind}: {error}") from None
        if wanted - numbers(available):
            raise InvalidArgument(f"Requested {what} are not available - requested {asked}, available: {available}")


def numbers(text: str) -> set[int]:
    """Returns the numbers in a list such as "0-2,7". Raises ValueError in Docker's words."""
    found: set[int] = set()
    for part in text.split(",") if text else []:
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise ValueError(f"invalid format: {text}")
        low, high = int(first[:9]), int((last if dash else first)[:9])
        if high < low:
            raise ValueError(f"invalid format: {text}")
        if high > _MOST_CPU:
            raise ValueError(f"value of out range, maximum is {_MOST_CPU}")
        found.update(range(low, high + 1))
    return found


def _blkio(resources: pb.Resources, kernel: KernelLimits, warnings: list[str]) -> None:
    if resources.blkio_weight and not kernel.blkio_weight:
        warnings.append("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.")
        resources.blkio_weight = 0
    if resources.blkio_weight and not _LEAST_WEIGHT <= resources.blkio_weight <= _MOST_WEIGHT:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if resources.blkio_weight_device and not kernel.blkio_weight_device:
        warnings.append("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.")
        del resources.blkio_weight_device[:]
    if kernel.blkio_throttle:
        return
    for devices, kind, text in (
        (resources.blkio_device_read_bps, "BPS Block I/O read", "Block I/O BPS read"),
        (resources.blkio_device_write_bps, "BPS Block I/O write", "Block I/O BPS write"),
        (resources.blkio_device_read_iops, "IOPS Block read", "Block I/O IOPS read"),
        (resources.blkio_device_write_iops, "IOPS Block write", "Block I/O IOPS write"),
    ):
        if devices:
            warnings.append(f"Your kernel does not support {kind} limit or the cgroup is not mounted. {text} limit discarded.")
            del devices[:]
