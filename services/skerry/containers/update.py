"""`docker update`: new limits and restart policy for a container, running or not. Either all of it holds or nothing has changed."""

import asyncio
import os
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers import oci_resources
from skerry.containers.container import Container
from skerry.containers.limits import KernelLimits, check
from skerry.containers.state import Phase, Policy, Updated
from skerry.containers.transitions import step
from skerry.containers.validate import check_policy
from skerry.core.errors import Conflict, Failed, InvalidArgument

_PERIOD = 100_000
_SHARES = 1024
_WEIGHT = 100
_ROOT = "/sys/fs/cgroup"


async def update(container: Container, request: pb.UpdateRequest) -> list[str]:
    """Changes what the request sets; returns warnings. Raises InvalidArgument, Conflict, and Failed when the kernel refuses."""
    host = container.environment.host
    asked = pb.Resources()
    asked.CopyFrom(request.resources)
    if asked.memory_swap > 0 and not asked.memory:
        # Alone it is measured against the limit that is there.
        asked.memory_swap, swap = 0, asked.memory_swap
        warnings = check(asked, host.limits)
        asked.memory_swap = swap
    else:
        warnings = check(asked, host.limits)
    policy = None
    if request.HasField("restart_policy") and request.restart_policy.name:
        check_policy(request.restart_policy)
        policy = Policy(request.restart_policy.name, request.restart_policy.maximum_retry_count)
    async with container.operation:
        await container.environment.finish(
            _change(container, asked, policy, set_pids=request.set_pids_limit), f"update {container.id[:12]}"
        )
    return warnings


async def _change(container: Container, asked: pb.Resources, policy: Policy | None, *, set_pids: bool) -> None:
    old = container.spec.resources
    new = merged(container.id, old, asked, set_pids=set_pids)
    # The conditions that the record has are seen before the kernel is asked for anything.
    step(container.state, Updated(policy))
    if container.state.phase in (Phase.RUNNING, Phase.PAUSED):
        await _apply(container, old, new)
    spec = pb.ContainerSpec()
    spec.CopyFrom(container.spec)
    spec.resources.CopyFrom(new)
    if policy is not None:
        spec.restart_policy.CopyFrom(pb.RestartPolicy(name=policy.name, maximum_retry_count=policy.maximum))
    await container.update(spec, policy)


def merged(container_id: str, old: pb.Resources, asked: pb.Resources, *, set_pids: bool) -> pb.Resources:
    """Returns the limits after the change. What `docker update` cannot change is not looked at, as in Docker. Pure.

    Raises Conflict, InvalidArgument.
    """
    lament = f"Cannot update container {container_id}: "
    _conflicts(lament, old, asked)
    result = pb.Resources()
    result.CopyFrom(old)
    for name in (
        "memory",
        "memory_swap",
        "memory_reservation",
        "cpu_shares",
        "cpu_period",
        "cpu_quota",
        "nano_cpus",
        "cpuset_cpus",
        "cpuset_mems",
        "cpu_realtime_period",
        "cpu_realtime_runtime",
        "blkio_weight",
    ):
        if value := getattr(asked, name):
            setattr(result, name, value)
    if set_pids:
        result.pids_limit = max(0, asked.pids_limit)
    if result.memory_swap > 0 and asked.memory_swap:
        # dockerd lets the runtime say so, and takes it for one that does not run.
        if not result.memory:
            raise InvalidArgument(f"{lament}You should always set the Memory limit when using Memoryswap limit, see usage")
        if result.memory_swap < result.memory:
            raise InvalidArgument(f"{lament}Minimum memoryswap limit should be larger than memory limit, see usage")
    return result


def _conflicts(lament: str, old: pb.Resources, asked: pb.Resources) -> None:
    if asked.nano_cpus and (old.cpu_period or old.cpu_quota):
        what = "Quota" if old.cpu_quota else "Period"
        raise Conflict(f"{lament}Conflicting options: Nano CPUs cannot be updated as CPU {what} has already been set")
    if old.nano_cpus and (asked.cpu_period or asked.cpu_quota):
        what = "Quota" if asked.cpu_quota else "Period"
        raise Conflict(f"{lament}Conflicting options: CPU {what} cannot be updated as NanoCPUs has already been set")
    if asked.memory and not asked.memory_swap and asked.memory > old.memory_swap:
        raise Conflict(f"{lament}Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")


async def _apply(container: Container, old: pb.Resources, new: pb.Resources) -> None:
    """Sets what differs; on failure what was set already is set back. One that just ended has nothing to set."""
    host, runtime = container.environment.host, container.runtime
    forward, backward = difference(old, new, host.limits), difference(new, old, host.limits)
    if not forward:
        return
    try:
        await runtime.update(container.id, _numbers(forward))
        await asyncio.to_thread(_lift, container, forward, host.cgroup_version)
    except Failed:
        if not await asyncio.to_thread(_exists, container.cgroup, host.cgroup_version):
            return
        # Part of it may have been refused already: what can be undone is.
        for section in backward:
            try:
                await runtime.update(container.id, _numbers({section: backward[section]}))
            except Failed:
                continue
        await asyncio.to_thread(_lift, container, backward, host.cgroup_version)
        raise


def difference(old: pb.Resources, new: pb.Resources, kernel: KernelLimits) -> dict[str, dict[str, Any]]:
    """Returns the parts of OCI's linux.resources that differ; what is no longer limited has the kernel's first value. Pure."""
    result: dict[str, dict[str, Any]] = {}

    def differs(*names: str) -> bool:
        return any(getattr(old, name) != getattr(new, name) for name in names)

    if differs("memory", "memory_swap"):
        result["memory"] = {"limit": new.memory or -1, "swap": oci_resources.swap(new) or -1}
    if differs("memory_reservation"):
        result.setdefault("memory", {})["reservation"] = new.memory_reservation if new.memory_reservation > 0 else -1
    cpu: dict[str, Any] = {}
    if differs("cpu_shares"):
        cpu["shares"] = new.cpu_shares or _SHARES
    if differs("cpu_period", "cpu_quota", "nano_cpus"):
        cpu["period"], quota = oci_resources.bandwidth(new)
        cpu["quota"] = quota or -1
    for name, field, everything in (("cpus", "cpuset_cpus", kernel.cpuset_cpus), ("mems", "cpuset_mems", kernel.cpuset_mems)):
        if differs(field):
            cpu[name] = getattr(new, field) or everything
    for name, field in (("realtimePeriod", "cpu_realtime_period"), ("realtimeRuntime", "cpu_realtime_runtime")):
        if differs(field):
            cpu[name] = getattr(new, field)
    if cpu:
        result["cpu"] = cpu
    if differs("pids_limit"):
        result["pids"] = {"limit": new.pids_limit if new.pids_limit > 0 else -1}
    if differs("blkio_weight"):
        result["blockIO"] = {"weight": new.blkio_weight or _WEIGHT}
    return result


def _numbers(document: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Leaves out what crun cannot lift (a quota and a pids limit of -1); `_lift` does that."""
    result = {section: dict(values) for section, values in document.items()}
    if result.get("cpu", {}).get("quota") == -1:
        del result["cpu"]["quota"]
    if result.get("pids", {}).get("limit") == -1:
        del result["pids"]
    return {section: values for section, values in result.items() if values}


def _lift(container: Container, document: dict[str, dict[str, Any]], version: int) -> None:
    cgroup = container.cgroup
    try:
        if document.get("cpu", {}).get("quota") == -1:
            period = document["cpu"]["period"]
            path = f"{_ROOT}{cgroup}/cpu.max" if version == 2 else f"{_ROOT}/cpu{cgroup}/cpu.cfs_quota_us"
            _write(path, f"max {period}" if version == 2 else "-1")
        if document.get("pids", {}).get("limit") == -1:
            _write(f"{_ROOT}{cgroup}/pids.max" if version == 2 else f"{_ROOT}/pids{cgroup}/pids.max", "max")
    except OSError as error:
        raise Failed(f"Cannot update container {container.id}: {error.filename}: {error.strerror}") from None


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _exists(cgroup: str, version: int) -> bool:
    return os.path.exists(f"{_ROOT}{cgroup}" if version == 2 else f"{_ROOT}/memory{cgroup}")
