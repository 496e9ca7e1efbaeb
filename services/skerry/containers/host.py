"""What this host gives its containers; read once at start, so that the specification can be built without looking at the machine."""

import os
import platform
import resource
import shutil

import msgspec

from skerry.containers.capabilities import bounding_set
from skerry.containers.limits import KernelLimits, kernel_limits

_INIT_PATHS = ("docker-init", "/usr/libexec/docker/docker-init", "/usr/libexec/docker-init", "tini-static", "tini")
_GO_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
}
CGROUP_ROOT = "/sys/fs/cgroup"


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable facts of host and engine process."""

    # The engine's own bounding set: nothing above it can be granted.
    capabilities: frozenset[str]
    # 1 also for the hybrid layout, where the controllers are v1's.
    cgroup_version: int = 1
    # Who makes containers' cgroups: the runtime itself (cgroupfs), or systemd when asked by it (systemd).
    cgroup_driver: str = "cgroupfs"
    # As Go and image configurations name it.
    architecture: str = "amd64"
    kernel: tuple[int, int] = (6, 1)
    apparmor: bool = False
    # RLIMIT_* to the engine's hard limit, which only CAP_SYS_RESOURCE may exceed; -1: infinity.
    hard_limits: dict[str, int] = {}
    # The engine's own, below which nobody without CAP_SYS_RESOURCE gets.
    oom_score_adj: int = 0
    # Path of docker-init or tini; empty: none installed.
    init: str = ""
    limits: KernelLimits = KernelLimits()

    @property
    def exceeds_limits(self) -> bool:
        """Tells whether rlimits and oom_score_adj can be set freely."""
        return "CAP_SYS_RESOURCE" in self.capabilities


def host_facts(cgroup_driver: str = "") -> HostFacts:
    """Reads the facts. Blocks for about a millisecond. cgroup_driver: cgroupfs or systemd; empty: as Docker chooses."""
    release = platform.release().split("-")[0].split(".")
    limits = {name: resource.getrlimit(getattr(resource, name))[1] for name in dir(resource) if name.startswith("RLIMIT_")}
    version = 2 if os.path.exists(f"{CGROUP_ROOT}/cgroup.controllers") else 1
    return HostFacts(
        capabilities=bounding_set(_read("/proc/self/status")),
        cgroup_version=version,
        cgroup_driver=cgroup_driver or ("systemd" if version == 2 and _systemd_answers() else "cgroupfs"),
        architecture=_GO_ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel=(int(release[0]), int(release[1])),
        apparmor=_read("/sys/module/apparmor/parameters/enabled").startswith("Y"),
        hard_limits=limits,
        oom_score_adj=int(_read("/proc/self/oom_score_adj") or 0),
        limits=kernel_limits(version),
        init=next((path for name in _INIT_PATHS if (path := shutil.which(name))), ""),
    )


def _systemd_answers() -> bool:
    # sd_booted(3), and the bus through which the runtimes ask.
    return os.path.isdir("/run/systemd/system") and os.path.exists("/run/dbus/system_bus_socket")


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
