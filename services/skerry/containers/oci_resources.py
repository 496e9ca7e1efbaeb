"""Limits of a container in OCI's terms, valid for cgroup v1 and v2 (the runtimes convert), and process limits clamped to the host's."""

from collections.abc import Iterable, Mapping
from typing import Any

from skerry.api.containers.v1 import containers_pb2
from skerry.containers.devices import DEFAULT_RULES, HostDevice, rule
from skerry.containers.host import HostFacts
from skerry.core.errors import InvalidArgument

_CPU_PERIOD = 100_000
_INFINITY = (1 << 64) - 1
_ULIMITS = {
    name: "RLIMIT_" + name.upper()
    for name in [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
        "as",
    ]
}


def limits(
    resources: containers_pb2.Resources, host: HostFacts, block_devices: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, Any]:
    """Returns memory, cpu, pids and blockIO of linux.resources; what is not limited is left out.

    block_devices are the numbers of the devices that resources name by path.
    """
    result: dict[str, Any] = {}
    memory = _memory(resources, host)
    if memory:
        result["memory"] = memory
    cpu = _cpu(resources)
    if cpu:
        result["cpu"] = cpu
    if resources.pids_limit:
        result["pids"] = {"limit": resources.pids_limit if resources.pids_limit > 0 else -1}
    block = _block(resources, block_devices or {})
    if block:
        result["blockIO"] = block
    return result


def swap(resources: containers_pb2.Resources) -> int:
    """Returns the limit on memory and swap together, by Docker's rule: twice the memory when nothing was said; -1: none."""
    return max(resources.memory_swap, -1) or resources.memory * 2


def bandwidth(resources: containers_pb2.Resources) -> tuple[int, int]:
    """Returns microseconds of CPU time: a period, and how much of it may be used (0: all)."""
    if resources.nano_cpus > 0:
        return _CPU_PERIOD, resources.nano_cpus * _CPU_PERIOD // 1_000_000_000
    return resources.cpu_period or _CPU_PERIOD, max(0, resources.cpu_quota)


def devices(asked: Iterable[HostDevice], rules: Iterable[str], *, privileged: bool) -> list[dict[str, Any]]:
    """Returns the device rules of linux.resources. Privileged: everything. Raises InvalidArgument for a rule's bad form."""
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    return [*DEFAULT_RULES, *(device.rule() for device in asked), *(rule(text) for text in rules)]


def rlimits(ulimits: Iterable[containers_pb2.Ulimit], host: HostFacts) -> list[dict[str, Any]]:
    """Returns process.rlimits, clamped to the host's hard limits where the engine may not exceed them.

    Raises InvalidArgument, in Docker's words, for unknown names and soft above hard.
    """
    result = []
    for ulimit in ulimits:
        kind = _ULIMITS.get(ulimit.name.lower())
        if kind is None:
            raise InvalidArgument(f"invalid ulimit type: {ulimit.name}")
        soft, hard = _unsigned(ulimit.soft), _unsigned(ulimit.hard)
        if soft > hard:
            raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {ulimit.soft} > {ulimit.hard}")
        if not host.exceeds_limits:
            hard = min(hard, _unsigned(host.hard_limits.get(kind, -1)))
            soft = min(soft, hard)
        result.append({"type": kind, "hard": hard, "soft": soft})
    return result


def oom_score_adj(asked: int, host: HostFacts) -> int:
    """Returns the adjustment that the engine may set: without CAP_SYS_RESOURCE none below its own. Raises InvalidArgument out of range."""
    if not -1000 <= asked <= 1000:
        raise InvalidArgument(f"Invalid value {asked}, range for oom score adj is [-1000, 1000]")
    return asked if host.exceeds_limits else max(asked, host.oom_score_adj)


def _unsigned(value: int) -> int:
    return _INFINITY if value < 0 else value


def _memory(resources: containers_pb2.Resources, host: HostFacts) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    if resources.memory > 0:
        memory["limit"] = resources.memory
        memory["swap"] = swap(resources)
    if resources.memory_reservation > 0:
        memory["reservation"] = resources.memory_reservation
    if resources.HasField("memory_swappiness") and host.cgroup_version == 1:
        memory["swappiness"] = resources.memory_swappiness
    if resources.kernel_memory_tcp > 0 and host.cgroup_version == 1:
        memory["kernelTCP"] = resources.kernel_memory_tcp
    if resources.oom_kill_disable and host.cgroup_version == 1:
        memory["disableOOMKiller"] = True
    return memory


def _cpu(resources: containers_pb2.Resources) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if resources.cpu_shares > 0:
        cpu["shares"] = resources.cpu_shares
    period, quota = bandwidth(resources)
    if quota or resources.cpu_period:
        cpu["period"] = period
    if quota:
        cpu["quota"] = quota
    if resources.cpu_realtime_period:
        cpu["realtimePeriod"] = resources.cpu_realtime_period
    if resources.cpu_realtime_runtime:
        cpu["realtimeRuntime"] = resources.cpu_realtime_runtime
    if resources.cpuset_cpus:
        cpu["cpus"] = resources.cpuset_cpus
    if resources.cpuset_mems:
        cpu["mems"] = resources.cpuset_mems
    return cpu


def _block(resources: containers_pb2.Resources, numbers: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    block: dict[str, Any] = {}
    if resources.blkio_weight:
        block["weight"] = resources.blkio_weight
    if weights := [{**_number(each.path, numbers), "weight": each.weight} for each in resources.blkio_weight_device]:
        block["weightDevice"] = weights
    for name, devices in (
        ("throttleReadBpsDevice", resources.blkio_device_read_bps),
        ("throttleWriteBpsDevice", resources.blkio_device_write_bps),
        ("throttleReadIOPSDevice", resources.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", resources.blkio_device_write_iops),
    ):
        if throttles := [{**_number(each.path, numbers), "rate": each.rate} for each in devices]:
            block[name] = throttles
    return block


def _number(path: str, numbers: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    major, minor = numbers[path]
    return {"major": major, "minor": minor}
