"""Networks as Docker's JSON."""

from typing import Any

from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.gateway.docker.times import rfc3339


def network(value: pb.Network, *, endpoints: bool) -> dict[str, Any]:
    """Returns a network; with its containers for inspect."""
    pools: list[dict[str, Any]] = []
    for pool in value.pools:
        entry: dict[str, Any] = {"Subnet": pool.subnet}
        if pool.ip_range:
            entry["IPRange"] = pool.ip_range
        if pool.gateway:
            entry["Gateway"] = pool.gateway
        if pool.aux_addresses:
            entry["AuxiliaryAddresses"] = dict(pool.aux_addresses)
        pools.append(entry)
    return {
        "Name": value.name,
        "Id": value.id,
        "Created": rfc3339(value.created_ns),
        "Scope": value.scope or "local",
        "Driver": value.driver,
        "EnableIPv4": value.driver not in {"host", "null"},
        "EnableIPv6": value.enable_ipv6,
        "IPAM": {"Driver": value.ipam_driver or "default", "Options": dict(value.ipam_options) or None, "Config": pools},
        "Internal": value.internal,
        "Attachable": value.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {e.container_id: _endpoint(e) for e in value.endpoints} if endpoints else {},
        "Options": dict(value.options),
        "Labels": dict(value.labels),
    }


def _endpoint(endpoint: pb.Endpoint) -> dict[str, Any]:
    return {
        "Name": endpoint.container_name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": f"{endpoint.ipv4_address}/{endpoint.ipv4_prefix}" if endpoint.ipv4_address else "",
        "IPv6Address": f"{endpoint.ipv6_address}/{endpoint.ipv6_prefix}" if endpoint.ipv6_address else "",
    }
