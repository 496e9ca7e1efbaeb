"""What the node is: for `docker info`."""

import os
import platform
from collections.abc import Sequence

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.environment import Environment
from skerry.containers.limits import KernelLimits
from skerry.containers.node import Node
from skerry.containers.state import Phase


def info(node: Node, volume_drivers: Sequence[str] = ()) -> pb.InfoResponse:
    """Describes node and host. Blocks for a few small files."""
    environment = node.environment
    host = environment.host
    phases = [container.state.phase for container in node]
    system, version = _operating_system()
    running = sum(phase in (Phase.RUNNING, Phase.RESTARTING) for phase in phases)
    response = pb.InfoResponse(
        node=environment.node,
        containers=len(phases),
        running=running,
        paused=phases.count(Phase.PAUSED),
        stopped=len(phases) - running - phases.count(Phase.PAUSED),
        kernel_version=platform.release(),
        operating_system=system,
        os_version=version,
        architecture=platform.machine(),
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cgroup_version=str(host.cgroup_version),
        cgroup_driver=host.cgroup_driver,
        default_runtime=environment.runtime.name,
        runtimes=environment.runtimes.installed(),
        runtime_commit=environment.runtime.version,
        storage_driver="overlay2",
        storage_status={"Backing Filesystem": _backing_filesystem(environment), "Layer Form": environment.layers.form},
        security_options=["name=seccomp,profile=default"] + (["name=apparmor"] if host.apparmor else []),
        root_dir=environment.root,
        init_binary=os.path.basename(host.init),
        volume_drivers=volume_drivers,
    )
    _limits(response, host.limits)
    return response


def _operating_system() -> tuple[str, str]:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.system(), ""
    return release.get("PRETTY_NAME", platform.system()), release.get("VERSION_ID", "")


def _backing_filesystem(environment: Environment) -> str:
    best, kind = "", "unknown"
    root = os.path.realpath(environment.root)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            point = fields.split()[4]
            if len(point) >= len(best) and (root == point or root.startswith(point.rstrip("/") + "/")):
                best, kind = point, rest.split()[0]
    return "extfs" if kind.startswith("ext") else kind  # Docker's name for ext2 to ext4


def _limits(response: pb.InfoResponse, kernel: KernelLimits) -> None:
    response.memory_limit, response.swap_limit, response.oom_kill_disable = kernel.memory, kernel.swap, kernel.oom_kill_disable
    response.cpu_cfs, response.cpu_shares, response.cpuset, response.pids_limit = (
        kernel.cpu_cfs,
        kernel.cpu_shares,
        kernel.cpuset,
        kernel.pids,
    )
    for present, what in (
        (response.memory_limit, "memory limit"),
        (response.swap_limit, "swap limit"),
        (response.cpu_cfs, "cpu cfs quota"),
        (response.cpu_shares, "cpu shares"),
        (response.cpuset, "cpuset"),
        (response.pids_limit, "pids limit"),
    ):
        if not present:
            response.warnings.append(f"WARNING: No {what} support")
