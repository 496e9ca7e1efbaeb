"""Options of a create request that no container on Linux can have, that contradict each other, or that go with a warning: Docker's words.

What Docker ignores on Linux is named in IGNORED; docs/compatibility.md lists it.
"""

import ipaddress
from typing import Any

from skerry.core.errors import InvalidArgument, NotSupported
from skerry.gateway.versions import NO_KERNEL_MEMORY, Version

# Read and shown by inspect, without effect on a Linux engine, dockerd's or this one.
IGNORED = {
    "HostConfig.CpuCount": "Windows only",
    "HostConfig.ContainerIDFile": "the client writes the file; inspect shows its name",
    "Config.ArgsEscaped": "Windows only",
    "Config.OnBuild": "what builds on an image of the container would run",
    "Config.Shell": "the shell of a Dockerfile's shell forms; no container uses it",
    "HostConfig.Mounts.Consistency": "Docker Desktop only",
    **{
        f"NetworkingConfig.EndpointsConfig.{name}": "what an engine answers, not what it is asked"
        for name in (
            "NetworkID",
            "EndpointID",
            "Gateway",
            "IPAddress",
            "IPPrefixLen",
            "IPv6Gateway",
            "GlobalIPv6Address",
            "GlobalIPv6PrefixLen",
            "DNSNames",
        )
    },
}
_PORTS_DISCARDED = "Published ports are discarded when using host network mode"


def check_options(host: dict[str, Any], networking: dict[str, Any], version: Version) -> list[str]:
    """Returns warnings; what they say is discarded is taken out of host. Raises InvalidArgument or NotSupported."""
    _links(host)
    _foreign_systems(host)
    _storage(host)
    if host.get("UsernsMode", "") not in {"", "host"}:
        raise InvalidArgument(f"invalid userns mode: {host['UsernsMode']}")
    for text in host.get("ExtraHosts", []):
        _extra_host(text)
    for device in host.get("Devices", []):
        letters = device.get("CgroupPermissions", "")
        if len(set(letters)) < len(letters) or not set(letters) <= set("rwm"):
            raise InvalidArgument(f"bad mode specified: {letters}")
    _endpoints(host, networking)
    return _discard(host, version)


def _links(host: dict[str, Any]) -> None:
    mode = host.get("NetworkMode", "")
    if not host.get("Links"):
        return
    for kind, matches in (("host type networking", mode == "host"), ("container type network", mode.startswith("container:"))):
        if matches:
            raise InvalidArgument(f"conflicting options: {kind} can't be used with links. This would result in undefined behavior")


def _foreign_systems(host: dict[str, Any]) -> None:
    if host.get("Isolation", "") not in {"", "default"}:
        raise InvalidArgument(f"Invalid isolation: \"{host['Isolation']}\" - linux only supports 'default'")
    if host.get("IOMaximumBandwidth"):
        raise InvalidArgument("Invalid QoS settings: linux does not support configuration of maximum bandwidth")
    if host.get("IOMaximumIOps"):
        raise InvalidArgument("Invalid QoS settings: linux does not support configuration of maximum IOPs")


def _storage(host: dict[str, Any]) -> None:
    for name in host.get("StorageOpt", {}):
        if name.lower() != "size":
            raise InvalidArgument(f"Unknown option {name.lower()}")
        raise InvalidArgument("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")


def _extra_host(text: str) -> None:
    name, colon, address = text.partition(":")
    if not colon or not name or not address:
        raise InvalidArgument(f'bad format for add-host: "{text}"')
    try:
        if address != "host-gateway":
            ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from None


def _endpoints(host: dict[str, Any], networking: dict[str, Any]) -> None:
    mode = host.get("NetworkMode") or "default"
    endpoints: dict[str, Any] = networking.get("EndpointsConfig") or {}
    for name, endpoint in endpoints.items():
        # The key of a user-defined network may be its id where the mode is its name.
        if name != mode and (name, mode) != ("bridge", "default") and mode in {"default", "bridge", "host", "none"}:
            raise NotSupported(f"connecting to network {name} beside network mode {mode} at create is not supported yet")
        ipam = (endpoint or {}).get("IPAMConfig") or {}
        if mode in {"host", "none"}:
            _refuse_settings(endpoint or {}, ipam)
        for kind, family in (("IPv4", ipaddress.IPv4Address), ("IPv6", ipaddress.IPv6Address)):
            _address(ipam.get(f"{kind}Address", ""), family, f"invalid {kind} address: {ipam.get(f'{kind}Address')}")
        for address in ipam.get("LinkLocalIPs", []):
            _address(address, ipaddress.ip_address, f"Invalid link-local IP address: [{' '.join(ipam['LinkLocalIPs'])}]")


def _refuse_settings(endpoint: dict[str, Any], ipam: dict[str, Any]) -> None:
    if any(ipam.values()):
        raise InvalidArgument("user specified IP address is supported on user defined networks only")
    if endpoint.get("Aliases"):
        raise InvalidArgument("network-scoped alias is supported only for containers in user defined networks")
    if endpoint.get("MacAddress"):
        raise InvalidArgument("conflicting options: mac-address and the network mode")


def _address(text: str, parse: Any, complaint: str) -> None:
    try:
        if text:
            parse(text)
    except ValueError:
        raise InvalidArgument(complaint) from None


def _discard(host: dict[str, Any], version: Version) -> list[str]:
    warnings = []
    if version >= NO_KERNEL_MEMORY:
        # The field is no more: dockerd reads it from older clients only.
        host.pop("KernelMemory", None)
    if host.get("NetworkMode") == "host" and host.get("PortBindings"):
        warnings.append(_PORTS_DISCARDED)
    if host.get("MemorySwappiness") == -1:
        host["MemorySwappiness"] = None
    return warnings
