"""What a create request may not say, in Docker's words, and what this engine does not do yet, by name."""

import os
import re
import signal
from typing import Any

from skerry.core.errors import InvalidArgument, NotSupported

_RESTART = frozenset({"", "no", "always", "unless-stopped", "on-failure"})
_MEMORY_LEAST = 6 << 20
_SIGNALS = frozenset(number.name for number in signal.Signals) | {"SIGRTMIN", "SIGRTMAX"}
_REALTIME = re.compile(r"SIGRT(MIN\+|MAX-)[0-9]{1,2}\Z")
# HostConfig fields that would be ignored: refused unless they say what is the case anyway.
_NOT_YET: dict[str, tuple[str, frozenset[str]]] = {
    "Links": ("links (--link)", frozenset()),
    "DeviceRequests": ("device requests (--gpus)", frozenset()),
    "StorageOpt": ("storage options (--storage-opt)", frozenset()),
    "Annotations": ("annotations (--annotation)", frozenset()),
    "BlkioWeightDevice": ("block IO weights by device", frozenset()),
    "BlkioDeviceReadBps": ("block IO limits by device (--device-read-bps)", frozenset()),
    "BlkioDeviceWriteBps": ("block IO limits by device (--device-write-bps)", frozenset()),
    "BlkioDeviceReadIOps": ("block IO limits by device (--device-read-iops)", frozenset()),
    "BlkioDeviceWriteIOps": ("block IO limits by device (--device-write-iops)", frozenset()),
    "CpuRealtimePeriod": ("CPU real-time periods", frozenset()),
    "CpuRealtimeRuntime": ("CPU real-time runtimes", frozenset()),
    "KernelMemory": ("kernel memory limits", frozenset()),
    "KernelMemoryTCP": ("kernel memory limits", frozenset()),
    "Isolation": ("isolation technologies", frozenset({"default"})),
    "UsernsMode": ("user namespaces", frozenset({"host"})),
    "Cgroup": ("joined cgroups", frozenset()),
    "CpuCount": ("CPU counts (Windows)", frozenset()),
    "CpuPercent": ("CPU percents (Windows)", frozenset()),
    "IOMaximumIOps": ("IO limits (Windows)", frozenset()),
    "IOMaximumBandwidth": ("IO limits (Windows)", frozenset()),
}


def check(config: dict[str, Any], host: dict[str, Any], networking: dict[str, Any]) -> None:
    """Raises InvalidArgument or NotSupported for the first thing that cannot be."""
    _unsupported(host, networking)
    _process(config)
    _restart(host)
    _network(config, host)
    _limits(host)
    for text in host.get("ExtraHosts", []):
        name, colon, address = text.partition(":")
        if not colon or not name or not address:
            raise InvalidArgument(f'bad format for add-host: "{text}"')


def check_signal(name: str) -> None:
    """Raises InvalidArgument "Invalid signal: X" for what is no signal. Empty is the default."""
    if not name:
        return
    if name.isascii() and name.isdigit():
        known = 1 <= int(name) <= signal.SIGRTMAX
    else:
        full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
        known = full in _SIGNALS or _REALTIME.match(full) is not None
    if not known:
        raise InvalidArgument(f"Invalid signal: {name}")


def _unsupported(host: dict[str, Any], networking: dict[str, Any]) -> None:
    for field, (what, harmless) in _NOT_YET.items():
        value = host.get(field)
        if value and not (isinstance(value, str) and value in harmless):
            raise NotSupported(f"{what} are not supported yet (HostConfig.{field})")
    endpoints = networking.get("EndpointsConfig") or {}
    if len(endpoints) > 1:
        raise NotSupported(f"more than one network at create is not supported yet: {', '.join(sorted(endpoints))}")
    for name, endpoint in endpoints.items():
        for field in ("Links", "DriverOpts"):
            if (endpoint or {}).get(field):
                raise NotSupported(f"{field} of network {name} are not supported yet")


def _process(config: dict[str, Any]) -> None:
    for variable in config.get("Env", []):
        if not variable or variable.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {variable}")
    directory = config.get("WorkingDir", "")
    if directory and not directory.startswith("/"):
        raise InvalidArgument(f"the working directory '{directory}' is invalid, it needs to be an absolute path")
    check_signal(config.get("StopSignal", ""))
    for path in config.get("Volumes", {}):
        if not path.startswith("/"):
            raise InvalidArgument(f"invalid volume specification: '{path}': invalid mount path: '{path}' mount path must be absolute")
        if not path.rstrip("/"):
            raise InvalidArgument("invalid specification: destination can't be '/'")


def _restart(host: dict[str, Any]) -> None:
    policy = host.get("RestartPolicy", {})
    name, retries = policy.get("Name", ""), policy.get("MaximumRetryCount", 0)
    if name not in _RESTART:
        raise InvalidArgument(f"invalid restart policy '{name}'")
    if retries and name != "on-failure":
        raise InvalidArgument(f"maximum retry count cannot be used with restart policy '{name}'")
    if retries < 0:
        raise InvalidArgument("maximum retry count cannot be negative")
    if host.get("AutoRemove") and name not in {"", "no"}:
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def _network(config: dict[str, Any], host: dict[str, Any]) -> None:
    mode = host.get("NetworkMode", "")
    if host.get("UTSMode", "") not in {"", "host"}:
        raise InvalidArgument(f"invalid UTS mode: {host['UTSMode']}")
    if host.get("UTSMode") == "host" and config.get("Hostname"):
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if not mode.startswith("container:"):
        return
    if config.get("Hostname"):
        raise InvalidArgument("conflicting options: hostname and the network mode")
    if host.get("Dns"):
        raise InvalidArgument("conflicting options: dns and the network mode")
    if host.get("ExtraHosts"):
        raise InvalidArgument("conflicting options: custom host-to-IP mapping and the network mode")
    if config.get("MacAddress"):
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    if host.get("PortBindings") or host.get("PublishAllPorts"):
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    if config.get("ExposedPorts"):
        raise InvalidArgument("conflicting options: port exposing and the container type network mode")


def _limits(host: dict[str, Any]) -> None:
    memory, swap, reserved = host.get("Memory", 0), host.get("MemorySwap", 0), host.get("MemoryReservation", 0)
    if memory < 0 or 0 < memory < _MEMORY_LEAST:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if swap > 0 and memory == 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < memory < reserved:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    cpus = os.cpu_count() or 1
    nano = host.get("NanoCpus", 0)
    if nano < 0 or nano > cpus * 10**9:
        raise InvalidArgument(f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    if nano and (host.get("CpuPeriod") or host.get("CpuQuota")):
        which = "Period" if host.get("CpuPeriod") else "Quota"
        raise InvalidArgument(f"Conflicting options: Nano CPUs and CPU {which} cannot both be set.")
    if host.get("ShmSize", 0) < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    adjust = host.get("OomScoreAdj", 0)
    if not -1000 <= adjust <= 1000:
        raise InvalidArgument(f"Invalid value {adjust}, range for oom score adj is [-1000, 1000]")
    weight = host.get("BlkioWeight", 0)
    if weight and not 10 <= weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and swappiness != -1 and not 0 <= swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    console = host.get("ConsoleSize")
    if console is not None and len(console) != 2:
        raise InvalidArgument("ConsoleSize must be a height and a width")
