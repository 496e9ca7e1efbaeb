"""From a container's record to the sandbox it asks for."""

from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.networks.v1 import networks_pb2
from skerry.core import ids
from skerry.gateway.docker.ports import bindings, expand


def network_name(spec: pb.ContainerSpec) -> str:
    """Returns the name under which inspect lists the container's network; empty for container:ID."""
    if spec.network_disabled:
        return "none"
    mode = spec.network_mode
    if mode in {"", "default"}:
        return "bridge"
    return "" if mode.startswith("container:") else mode


def endpoint_settings(container: pb.Container) -> dict[str, Any]:
    """Returns the EndpointsConfig entry of the container's network, as the client gave it."""
    networking = msgspec.json.decode(container.docker_networking_config_json or "{}")
    endpoints = networking.get("EndpointsConfig") or {}
    settings = endpoints.get(network_name(container.spec)) or endpoints.get(container.spec.network_mode) or {}
    return dict(settings)


def sandbox_request(container: pb.Container, run: int) -> networks_pb2.CreateSandboxRequest:
    """Returns what the network manager is asked for when container is started for the run-th time."""
    spec = container.spec
    host = msgspec.json.decode(container.docker_host_config_json or "{}")
    request = networks_pb2.CreateSandboxRequest(
        container_id=container.id,
        container_name=container.name,
        run=run,
        hostname=spec.hostname or ids.short(container.id),
        domainname=spec.domainname,
        dns=host.get("Dns") or [],
        dns_search=host.get("DnsSearch") or [],
        dns_options=host.get("DnsOptions") or [],
        extra_hosts=host.get("ExtraHosts") or [],
    )
    name = network_name(spec)
    if name == "host":
        request.mode = networks_pb2.NETWORK_MODE_HOST
        if not spec.hostname:
            request.hostname = ""
    elif name == "none":
        request.mode = networks_pb2.NETWORK_MODE_NONE
    elif not name:
        request.mode = networks_pb2.NETWORK_MODE_CONTAINER
        request.join_container_id = spec.network_mode.removeprefix("container:")
    else:
        request.mode = networks_pb2.NETWORK_MODE_NETWORKS
        request.endpoints.append(_endpoint(container, name))
        request.ports.extend(bindings(host.get("PortBindings")))
        if host.get("PublishAllPorts"):
            request.publish_exposed.extend(expand(spec.exposed_ports))
    return request


def _endpoint(container: pb.Container, network: str) -> networks_pb2.EndpointRequest:
    settings = endpoint_settings(container)
    config = msgspec.json.decode(container.docker_config_json or "{}")
    ipam = settings.get("IPAMConfig") or {}
    return networks_pb2.EndpointRequest(
        network=network,
        aliases=settings.get("Aliases") or [],
        ipv4_address=ipam.get("IPv4Address") or "",
        ipv6_address=ipam.get("IPv6Address") or "",
        mac_address=settings.get("MacAddress") or config.get("MacAddress") or "",
        link_local_addresses=ipam.get("LinkLocalIPs") or [],
    )
