"""The networks that are always there: bridge, host and none."""

import logging
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.core.ids import new_id
from skerry.networks import files
from skerry.networks.drivers import bridge
from skerry.networks.ipam import choose_subnet, first_address
from skerry.networks.records import Network
from skerry.networks.store import NetworkStore
from skerry.networks.worker import Worker

_log = logging.getLogger(__name__)
FALLBACK_DEVICE = "skerry0"


class BridgeSettings(msgspec.Struct, frozen=True):
    """How the default bridge is wished for. address empty: from the pools."""

    device: str
    address: str
    pools: Sequence[str]
    mtu: int
    publish_address: str


async def ensure(store: NetworkStore, worker: Worker, wished: BridgeSettings) -> dict[str, Network]:
    """Returns all recorded networks by id, the predefined ones among them, recorded now unless they were. The devices are not made yet."""
    recorded = {network.name: network for network in await store.networks()}
    for name, driver in (("host", "host"), ("none", "null")):
        if name not in recorded:
            recorded[name] = Network(id=new_id(), name=name, driver=driver, created_ns=time.time_ns())
            await store.put_network(recorded[name])
    network = recorded.get("bridge") or Network(id=new_id(), name="bridge", driver="bridge", created_ns=time.time_ns())
    chosen = await worker.run(choose, network, wished)
    if chosen != recorded.get("bridge"):
        await store.put_network(chosen)
    recorded["bridge"] = chosen
    return {network.id: network for network in recorded.values()}


def choose(network: Network, wished: BridgeSettings) -> Network:
    """Returns the default bridge with device and subnet for this host as it is now. Worker's thread.

    A device that bears our mark stays as it is. A wished name that somebody else's device has is left to them; a subnet that the
    host reaches otherwise (dockerd's bridge, a VPN) is passed over.
    """
    device = bridge.device_name([*filter(None, [network.device]), wished.device, FALLBACK_DEVICE], network)
    if device != wished.device and device != network.device:
        _log.warning("device belongs to somebody else", extra={"wished": wished.device, "used": device})
    fixed = _interface(wished.address) if wished.address else None
    if fixed is not None:
        subnet, gateway = fixed.network, fixed.ip
    elif network.subnet and _usable(network, device):
        subnet, gateway = IPv4Network(network.subnet), IPv4Address(network.gateway)
    else:
        subnet = choose_subnet(wished.pools, _taken(device))
        gateway = first_address(subnet)
    if network.subnet and str(subnet) != network.subnet and bridge.device_exists(device):
        _log.warning("the default bridge gets another subnet", extra={"old": network.subnet, "new": str(subnet)})
        bridge.delete(device)
    options = {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": wished.publish_address or "0.0.0.0",  # noqa: S104 - Docker's text
        "com.docker.network.bridge.name": device,
        "com.docker.network.driver.mtu": str(wished.mtu),
    }
    return msgspec.structs.replace(network, device=device, subnet=str(subnet), gateway=str(gateway), options=options)


def _usable(network: Network, device: str) -> bool:
    if bridge.device_exists(device):
        return True
    return not any(IPv4Network(network.subnet).overlaps(other) for other in _taken(device))


def _taken(device: str) -> list[IPv4Network]:
    servers = []
    for text in files.nameservers(files.read_resolv_conf()):
        try:
            servers.append(IPv4Network(text))
        except ValueError:
            continue  # IPv6, or nonsense that the resolver ignores too
    return [*bridge.host_routes(but=device), *servers]


def _interface(text: str) -> IPv4Interface:
    try:
        interface = IPv4Interface(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid bridge address {text!r}: {error}") from None
    if interface.network.prefixlen > 30 or interface.ip == interface.network.network_address:
        raise InvalidArgument(f"invalid bridge address {text!r}: want ADDRESS/PREFIX with room for containers")
    return interface
