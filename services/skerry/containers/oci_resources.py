"""Limits of a container in OCI's terms, valid for cgroup v1 and v2 (the runtimes convert), and process limits clamped to the host's."""

from collections.abc import Iterable
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


def limits(resources: containers_pb2.Resources, host: HostFacts) -> dict[str, Any]:
    """Returns memory, cpu, pids and blockIO of linux.resources; what is not limited is left out. Also the form that `update` takes."""
    result: dict[str, Any] = {}
    memory = _memory(resources, host)
    if memory:
        result["memory"] = memory
    cpu = _cpu(resources)
    if cpu:
        result["cpu"] = cpu
    if resources.pids_limit:
        result["pids"] = {"limit": resources.pids_limit if resources.pids_limit > 0 else -1}
    if resources.blkio_weight:
        result["blockIO"] = {"weight": resources.blkio_weight}
    return result


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
        # Docker's rule: as much swap as memory when nothing was said; "swap" counts both.
        memory["swap"] = resources.memory_swap or resources.memory * 2
    if resources.memory_reservation > 0:
        memory["reservation"] = resources.memory_reservation
    if resources.HasField("memory_swappiness") and host.cgroup_version == 1:
        memory["swappiness"] = resources.memory_swappiness
    if resources.oom_kill_disable and host.cgroup_version == 1:
        memory["disableOOMKiller"] = True
    return memory


def _cpu(resources: containers_pb2.Resources) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if resources.cpu_shares > 0:
        cpu["shares"] = resources.cpu_shares
    if resources.nano_cpus > 0:
        cpu["period"] = _CPU_PERIOD
        cpu["quota"] = resources.nano_cpus * _CPU_PERIOD // 1_000_000_000
    if resources.cpu_period:
        cpu["period"] = resources.cpu_period
    if resources.cpu_quota:
        cpu["quota"] = resources.cpu_quota
    if resources.cpuset_cpus:
        cpu["cpus"] = resources.cpuset_cpus
    if resources.cpuset_mems:
        cpu["mems"] = resources.cpuset_mems
    return cpu
