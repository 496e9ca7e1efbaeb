"""info, version and system df."""

import os
import platform
import time
from typing import Any

from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2
from skerry.gateway.docker.times import rfc3339
from skerry.gateway.versions import ACCEPTED, CURRENT, INFO_WITHOUT_KERNEL_MEMORY, Version

ENGINE = "0.1.0"
# Clients compare this with versions of Docker's engine: the one whose API this is, and whose build.
SERVER_VERSION = f"28.0.0-skerry.{ENGINE}"
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def version(asked: Version, kernel: str = "") -> dict[str, Any]:
    """Returns GET /version."""
    architecture = _GO_ARCH.get(platform.machine(), platform.machine())
    details = {
        "ApiVersion": str(CURRENT),
        "Arch": architecture,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": kernel or os.uname().release,
        "MinAPIVersion": str(ACCEPTED),
        "Os": "linux",
    }
    return {
        "Platform": {"Name": f"Skerry {ENGINE}"},
        "Components": [{"Name": "Engine", "Version": SERVER_VERSION, "Details": details}],
        "Version": SERVER_VERSION,
        "ApiVersion": str(CURRENT),
        "MinAPIVersion": str(ACCEPTED),
        "GitCommit": "",
        "GoVersion": f"python{platform.python_version()}",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": kernel or os.uname().release,
        "BuildTime": "",
    }


def info(
    node: containers_pb2.InfoResponse, images: images_pb2.InfoResponse | None, name: str, listeners: int, asked: Version
) -> dict[str, Any]:
    """Returns GET /info. images None: the image store is away, which becomes a warning."""
    warnings = [f"WARNING: {text}" if not text.startswith("WARNING") else text for text in node.warnings]
    if images is None:
        warnings.append("WARNING: the image store is not reachable")
    document: dict[str, Any] = {
        "ID": name,
        "Containers": node.containers,
        "ContainersRunning": node.running,
        "ContainersPaused": node.paused,
        "ContainersStopped": node.stopped,
        "Images": images.images if images else 0,
        "Driver": node.storage_driver or "overlay2",
        "DriverStatus": [[key, value] for key, value in sorted(node.storage_status.items())],
        "Plugins": {
            "Volume": ["local", *node.volume_drivers],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": ["json-file", "local", "none"],
        },
        "MemoryLimit": node.memory_limit,
        "SwapLimit": node.swap_limit,
    }
    if asked < INFO_WITHOUT_KERNEL_MEMORY:
        document |= {"KernelMemory": False, "KernelMemoryTCP": False}
    document |= {
        "CpuCfsPeriod": node.cpu_cfs,
        "CpuCfsQuota": node.cpu_cfs,
        "CPUShares": node.cpu_shares,
        "CPUSet": node.cpuset,
        "PidsLimit": node.pids_limit,
        "IPv4Forwarding": True,
        "BridgeNfIptables": False,
        "BridgeNfIp6tables": False,
        "Debug": False,
        "NFd": 0,
        "OomKillDisable": node.oom_kill_disable,
        "NGoroutines": 0,
        "SystemTime": rfc3339(time.time_ns()),
        "LoggingDriver": "json-file",
        "CgroupDriver": node.cgroup_driver or "cgroupfs",
        "CgroupVersion": node.cgroup_version,
        "NEventsListener": listeners,
        "KernelVersion": node.kernel_version,
        "OperatingSystem": node.operating_system,
        "OSVersion": node.os_version,
        "OSType": "linux",
        "Architecture": node.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _registry_config(),
        "NCPU": node.cpus,
        "MemTotal": node.memory,
        "GenericResources": None,
        "DockerRootDir": node.root_dir,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": node.node or name,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": SERVER_VERSION,
        "Runtimes": {key: {"path": path} for key, path in sorted(node.runtimes.items())},
        "DefaultRuntime": node.default_runtime.partition(" ")[0],
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": node.init_binary,
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": node.runtime_commit, "Expected": node.runtime_commit},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": list(node.security_options),
        "Warnings": warnings or None,
    }
    if asked >= INFO_WITHOUT_KERNEL_MEMORY:
        document["CDISpecDirs"] = []
    return document


def _registry_config() -> dict[str, Any]:
    hub = {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}
    return {
        "AllowNondistributableArtifactsCIDRs": [],
        "AllowNondistributableArtifactsHostnames": [],
        "InsecureRegistryCIDRs": ["127.0.0.0/8"],
        "IndexConfigs": {"docker.io": hub},
        "Mirrors": [],
    }
