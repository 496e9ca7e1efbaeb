"""What a create request may not say, in Docker's words, and what this engine does not do yet, by name."""

from typing import Any

from skerry.core.errors import InvalidArgument, NotSupported
from skerry.core.signals import parse_signal
from skerry.gateway.docker import limits

_RESTART = frozenset({"", "no", "always", "unless-stopped", "on-failure"})
# HostConfig fields that would be ignored: refused unless they say what is the case anyway.
_NOT_YET: dict[str, tuple[str, frozenset[str]]] = {
    "Links": ("links (--link)", frozenset()),
    "Cgroup": ("joined cgroups", frozenset()),
}


def check(config: dict[str, Any], host: dict[str, Any], networking: dict[str, Any]) -> None:
    """Raises InvalidArgument or NotSupported for the first thing that cannot be."""
    _unsupported(host, networking)
    _process(config)
    check_restart(host)
    _network(config, host)
    _limits(host)


def check_signal(name: str) -> None:
    """Raises InvalidArgument "Invalid signal: X" for what is no signal. Empty is the default."""
    if name:
        parse_signal(name)


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


def check_restart(host: dict[str, Any]) -> None:
    """Raises InvalidArgument for a restart policy that there is not."""
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
    if mode == "host" and config.get("MacAddress"):
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    if not mode.startswith("container:"):
        return
    if mode == "container:":
        raise InvalidArgument("Invalid network mode: invalid container format container:<name|id>")
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
    limits.check(host)
    if host.get("ShmSize", 0) < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    adjust = host.get("OomScoreAdj", 0)
    if not -1000 <= adjust <= 1000:
        raise InvalidArgument(f"Invalid value {adjust}, range for oom score adj is [-1000, 1000]")
    console = host.get("ConsoleSize")
    if console is not None and len(console) != 2:
        raise InvalidArgument("ConsoleSize must be a height and a width")
