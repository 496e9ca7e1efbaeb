"""Limits between Docker's HostConfig and the node's Resources, both ways. The node checks them: it knows the kernel."""

from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument

_LEAST_MEMORY = 6 << 20
_KERNEL_MEMORY = "Specifying a kernel memory limit is deprecated and will be removed in a future release."
_NUMBERS = {
    "Memory": "memory",
    "MemorySwap": "memory_swap",
    "MemoryReservation": "memory_reservation",
    "CpuShares": "cpu_shares",
    "CpuPeriod": "cpu_period",
    "CpuQuota": "cpu_quota",
    "NanoCpus": "nano_cpus",
    "CpusetCpus": "cpuset_cpus",
    "CpusetMems": "cpuset_mems",
    "CpuRealtimePeriod": "cpu_realtime_period",
    "CpuRealtimeRuntime": "cpu_realtime_runtime",
    "BlkioWeight": "blkio_weight",
}
_THROTTLES = {
    "BlkioDeviceReadBps": "blkio_device_read_bps",
    "BlkioDeviceWriteBps": "blkio_device_write_bps",
    "BlkioDeviceReadIOps": "blkio_device_read_iops",
    "BlkioDeviceWriteIOps": "blkio_device_write_iops",
}


def resources(host: dict[str, Any]) -> pb.Resources:
    """Returns what a HostConfig limits. Raises ValueError for a number that does not fit its field."""
    result = pb.Resources(
        **{field: host[name] for name, field in _NUMBERS.items() if name in host},
        pids_limit=host.get("PidsLimit") or 0,
        oom_kill_disable=host.get("OomKillDisable") or False,
        kernel_memory_tcp=host.get("KernelMemoryTCP", 0),
        blkio_weight_device=[
            pb.WeightDevice(path=each.get("Path", ""), weight=each.get("Weight", 0)) for each in host.get("BlkioWeightDevice") or []
        ],
    )
    for name, field in _THROTTLES.items():
        getattr(result, field).extend(
            pb.ThrottleDevice(path=each.get("Path", ""), rate=each.get("Rate", 0)) for each in host.get(name) or []
        )
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and swappiness != -1:
        result.memory_swappiness = swappiness
    return result


def check(host: dict[str, Any]) -> None:
    """Raises InvalidArgument for limits that no Linux has and for those that the node's message cannot carry."""
    if host.get("IOMaximumIOps"):
        raise InvalidArgument("Invalid QoS settings: linux does not support configuration of maximum IOPs")
    if host.get("IOMaximumBandwidth"):
        raise InvalidArgument("Invalid QoS settings: linux does not support configuration of maximum bandwidth")
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if 0 < host.get("KernelMemory", 0) < _LEAST_MEMORY:
        raise InvalidArgument("Minimum kernel memory limit allowed is 6MB")


def warnings(host: dict[str, Any]) -> list[str]:
    """Returns what is said of limits that are shown but never set, as the kernel dropped them; takes out what Docker discards."""
    said = []
    if host.get("KernelMemory", 0) > 0:
        said.append(_KERNEL_MEMORY)
    if host.get("CpuPercent"):
        said.append("linux does not support CPU percent. Percent discarded.")
        host["CpuPercent"] = 0
    return said


def show(document: dict[str, Any], spec: pb.ContainerSpec) -> None:
    """Writes the limits that hold into a HostConfig as it was given: the node may have discarded some, and `update` changes them."""
    limits = spec.resources
    for name, field in _NUMBERS.items():
        document[name] = getattr(limits, field)
    document["MemorySwappiness"] = limits.memory_swappiness if limits.HasField("memory_swappiness") else None
    if document.get("OomKillDisable"):
        document["OomKillDisable"] = limits.oom_kill_disable or None
    # Null: never limited. 0: not any more.
    if limits.pids_limit > 0 or document.get("PidsLimit") is not None:
        document["PidsLimit"] = limits.pids_limit
    if not limits.blkio_weight_device:
        document["BlkioWeightDevice"] = [] if document.get("BlkioWeightDevice") is not None else None
    for name, field in _THROTTLES.items():
        if document.get(name) and not getattr(limits, field):
            document[name] = []
    policy = document.get("RestartPolicy") or {}
    if (policy.get("Name") or "no") != spec.restart_policy.name or policy.get(
        "MaximumRetryCount", 0
    ) != spec.restart_policy.maximum_retry_count:
        document["RestartPolicy"] = {"Name": spec.restart_policy.name, "MaximumRetryCount": spec.restart_policy.maximum_retry_count}
