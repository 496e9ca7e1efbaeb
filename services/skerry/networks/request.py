"""Checks a CreateSandboxRequest: what passes can be put into paths, files and firewall commands as it is."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.core.errors import Conflict, InvalidArgument
from skerry.core.ids import is_id
from skerry.networks.files import Resolver, extra_hosts
from skerry.networks.ports import Binding
from skerry.networks.records import CONTAINER, HOST, NETWORKS, NONE
from skerry.networks.sandbox import Attachment, Wish

T = TypeVar("T")
_PROTOCOLS = ("tcp", "udp", "sctp")
_WORD = re.compile(r"[^\s\x00-\x1f\x7f#]{1,255}\Z")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}\Z")
_LIMIT = 1000
_PORTS = 65536


def wish(request: pb.CreateSandboxRequest) -> Wish:
    """Returns what is asked for. Raises InvalidArgument or Conflict in Docker's words."""
    if not is_id(request.container_id):
        raise InvalidArgument(f"invalid container id {request.container_id!r}")
    if request.run == 0:
        raise InvalidArgument("a sandbox is for a run, counted from 1")
    return Wish(
        container_id=request.container_id,
        container_name=container_name(request.container_name),
        run=request.run,
        mode=request.mode,
        join=_join(request),
        attachments=_attachments(request),
        bindings=_bindings(request),
        hostname=_optional_word("hostname", request.hostname),
        domainname=_optional_word("domainname", request.domainname),
        resolver=resolver(request.dns, request.dns_search, request.dns_options),
        extra_hosts=_extra_hosts(request.extra_hosts),
        link_hosts=tuple(_link(line) for line in _few("links", request.link_hosts)),
    )


def container_name(text: str) -> str:
    """Raises InvalidArgument for what is no name."""
    if not _NAME.match(text):
        raise InvalidArgument(f"Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return text


def resolver(servers: Iterable[str], search: Iterable[str], options: Iterable[str]) -> Resolver:
    """Raises InvalidArgument when a server is no address, or another part could break out of its line."""
    checked = tuple(_address(server, f"{server} is not an ip address") for server in servers)
    return Resolver(checked, tuple(_word("DNS search domain", s) for s in search), tuple(_word("DNS option", o) for o in options))


def _join(request: pb.CreateSandboxRequest) -> str:
    if request.mode != CONTAINER:
        return ""
    if not is_id(request.join_container_id):
        raise InvalidArgument(f"invalid container id {request.join_container_id!r}")
    if request.join_container_id == request.container_id:
        raise Conflict("cannot join own network")
    if request.ports or request.publish_exposed:
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    return request.join_container_id


def _attachments(request: pb.CreateSandboxRequest) -> tuple[Attachment, ...]:
    predefined = {HOST: "host", NONE: "none"}
    if request.mode in predefined:
        return (Attachment(predefined[request.mode]),)
    if request.mode == CONTAINER:
        return ()
    if request.mode != NETWORKS:
        raise InvalidArgument(f"invalid network mode {request.mode}")
    found = []
    for endpoint in request.endpoints or (pb.EndpointRequest(network="bridge"),):
        if endpoint.ipv4_address or endpoint.ipv6_address:
            raise InvalidArgument("user specified IP address is supported on user defined networks only")
        if endpoint.aliases:
            raise InvalidArgument("network-scoped alias is supported only for containers in user defined networks")
        if endpoint.mac_address and not re.fullmatch(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", endpoint.mac_address):
            raise InvalidArgument(f"invalid MAC address: {endpoint.mac_address}")
        link_local = tuple(_link_local(text) for text in _few("link-local addresses", endpoint.link_local_addresses))
        found.append(Attachment(endpoint.network, mac=endpoint.mac_address.lower(), link_local=link_local))
    if len(found) > 1:
        raise InvalidArgument("Container cannot be connected to network endpoints: " + ", ".join(sorted(a.network for a in found)))
    return tuple(found)


def _link_local(text: str) -> str:
    address = ipaddress.ip_address(_address(text, f"Invalid link-local IP address: [{text}]"))
    return f"{address}/{16 if address.version == 4 else 64}"


def _bindings(request: pb.CreateSandboxRequest) -> tuple[Binding, ...]:
    if request.mode != NETWORKS:
        return ()
    found = [_binding(port) for port in _few("published ports", request.ports, _PORTS)]
    named = {(binding.protocol, binding.container_port) for binding in found}
    for text in _few("exposed ports", request.publish_exposed, _PORTS):
        number, _, protocol = text.partition("/")
        binding = _binding(pb.PortBinding(protocol=protocol or "tcp", container_port=_number(number)))
        if (binding.protocol, binding.container_port) not in named:
            named.add((binding.protocol, binding.container_port))
            found.append(binding)
    return tuple(found)


def _binding(port: pb.PortBinding) -> Binding:
    protocol = port.protocol or "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol}")
    if not 0 < port.container_port < 65536:
        raise InvalidArgument(f"invalid containerPort: {port.container_port}")
    if port.host_port > 65535 or port.host_port_end > 65535 or (port.host_port == 0 and port.host_port_end):
        raise InvalidArgument(f"invalid hostPort: {port.host_port}-{port.host_port_end}")
    host_ip = _address(port.host_ip, f"invalid IP address: {port.host_ip}") if port.host_ip else ""
    return Binding(protocol, port.container_port, host_ip, port.host_port, port.host_port_end)


def _extra_hosts(entries: Sequence[str]) -> tuple[str, ...]:
    for address, name in extra_hosts(_few("extra hosts", entries), "127.0.0.1"):
        _word("extra host", name)
        _address(address, f"invalid IP address in add-host: {address!r}")
    return tuple(entries)


def _link(line: str) -> tuple[str, str]:
    address, _, names = line.partition(" ")
    for name in names.split(" "):
        _word("link", name)
    return _address(address, f"invalid link {line!r}"), names


def _address(text: str, complaint: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidArgument(complaint) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidArgument(f"invalid port {text!r}")
    return int(text)


def _optional_word(what: str, text: str) -> str:
    return _word(what, text) if text else ""


def _word(what: str, text: str) -> str:
    if not _WORD.match(text):
        raise InvalidArgument(f"invalid {what}: {text!r}")
    return text


def _few(what: str, values: Sequence[T], limit: int = _LIMIT) -> Sequence[T]:
    if len(values) > limit:
        raise InvalidArgument(f"too many {what}: {len(values)}, at most {limit}")
    return values
