"""Ports in Docker's notations: "80/tcp", "80", "8000-8010/udp"; host side "", "8080", "8000-8010"."""

from collections.abc import Iterable, Mapping
from typing import Any

from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.core.errors import InvalidArgument

_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
# More at once is a mistake of the client.
_MOST = 65536


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return int(text)


def parse_range(text: str) -> tuple[int, int]:
    """Returns first and last port of "80" or "80-90". Raises InvalidArgument."""
    low, dash, high = text.partition("-")
    first = _number(low)
    last = _number(high) if dash else first
    if last < first:
        raise InvalidArgument(f"invalid range specified for port: {text}")
    return first, last


def parse_port(text: str) -> tuple[int, int, str]:
    """Returns first port, last port and protocol of "80-90/tcp"; without a protocol: tcp. Raises InvalidArgument."""
    numbers, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol}")
    first, last = parse_range(numbers)
    if first == 0:
        raise InvalidArgument(f'invalid port specification: "{numbers}"')
    return first, last, protocol


def expand(texts: Iterable[str]) -> list[str]:
    """Returns single ports ("80/tcp") of ports and ranges, without doubles. Raises InvalidArgument."""
    result: dict[str, None] = {}
    for text in texts:
        first, last, protocol = parse_port(text)
        result.update(dict.fromkeys(f"{port}/{protocol}" for port in range(first, last + 1)))
    if len(result) > _MOST:
        raise InvalidArgument("too many ports")
    return list(result)


def bindings(given: Mapping[str, Any] | None) -> list[pb.PortBinding]:
    """Returns what HostConfig.PortBindings asks for. Raises InvalidArgument in Docker's words."""
    result: list[pb.PortBinding] = []
    for port, targets in (given or {}).items():
        first, last, protocol = parse_port(port)
        for target in targets or [{}]:
            low, high = parse_range(target.get("HostPort") or "0")
            for number in range(first, last + 1):
                spread = last > first and high - low == last - first
                start = low + (number - first) if spread else low
                result.append(
                    pb.PortBinding(
                        protocol=protocol,
                        container_port=number,
                        host_ip=target.get("HostIp") or "",
                        host_port=start,
                        host_port_end=0 if spread or high == low else high,
                    )
                )
    if len(result) > _MOST:
        raise InvalidArgument("too many published ports")
    return result


def port_map(published: Iterable[pb.PortBinding], exposed: Iterable[str]) -> dict[str, list[dict[str, str]] | None]:
    """Returns NetworkSettings.Ports: exposed ports without a binding are null."""
    result: dict[str, list[dict[str, str]] | None] = {}
    for port in exposed:
        result[port if "/" in port else f"{port}/tcp"] = None
    for binding in published:
        key = f"{binding.container_port}/{binding.protocol}"
        entries = result.get(key) or []
        entries.append({"HostIp": binding.host_ip, "HostPort": str(binding.host_port)})
        result[key] = entries
    return dict(sorted(result.items()))


def port_list(published: Iterable[pb.PortBinding], exposed: Iterable[str]) -> list[dict[str, Any]]:
    """Returns the Ports of `docker ps`."""
    result: list[dict[str, Any]] = []
    taken = set()
    for binding in published:
        taken.add(f"{binding.container_port}/{binding.protocol}")
        result.append(
            {
                "IP": binding.host_ip,
                "PrivatePort": binding.container_port,
                "PublicPort": binding.host_port,
                "Type": binding.protocol,
            }
        )
    for port in exposed:
        number, _, protocol = port.partition("/")
        if f"{number}/{protocol or 'tcp'}" not in taken and number.isdigit():
            result.append({"PrivatePort": int(number), "Type": protocol or "tcp"})
    return result
