"""The bridge driver: one Linux bridge per network, one veth pair per endpoint."""

import errno
import os
import re
import socket
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_interface

from skerry.networks import namespaces
from skerry.networks.netlink import (
    Netlink,
    carrier_settled,
    default_route,
    delete_link,
    hairpin,
    links,
    new_address,
    new_bridge,
    new_veth,
    set_link,
)
from skerry.networks.records import Endpoint, Network

_VETH = re.compile(r"veth[0-9a-f]{7}\Z")
_GONE = re.compile(r"gone[0-9a-f]{7}\Z")


def veth_name() -> str:
    """Returns a name for the host's end of a pair that no device has now."""
    while True:
        name = f"veth{os.urandom(4).hex()[:7]}"
        if _index(name) == 0:
            return name


class BridgeDriver:
    """Bridges of the network namespace that the worker's thread lives in."""

    def __init__(self, mtu: int) -> None:
        self._mtu = mtu
        self._netlink: Netlink | None = None

    def ensure(self, network: Network) -> None:
        """Makes the bridge, with the gateway's address, or brings the one that is there into that shape.

        127/8 may be routed to it: so that host programs reach published ports at 127.0.0.1 (the firewall drops 127/8 from elsewhere).
        """
        netlink = self._open()
        index = _index(network.device)
        if index == 0:
            mac = b"\x02\x42" + os.urandom(4)
            netlink.send(new_bridge(network.device, mac, self._mtu))
            index = _index(network.device)
        netlink.send(set_link(index, alias=alias(network), up=True))
        prefix = IPv4Network(network.subnet).prefixlen
        _tolerant(netlink, errno.EEXIST, new_address(index, IPv4Interface(f"{network.gateway}/{prefix}")))
        with open(f"/proc/sys/net/ipv4/conf/{network.device}/route_localnet", "wb", buffering=0) as switch:
            switch.write(b"1")

    def attach(self, network: Network, endpoint: Endpoint, netns_path: str) -> None:
        """Makes the pair with eth0 inside, and raises it."""
        netlink = self._open()
        mac = bytes.fromhex(endpoint.mac.replace(":", ""))
        fd = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            netlink.send(new_veth(endpoint.device, socket.if_nametoindex(network.device), "eth0", fd, mac, self._mtu))
        finally:
            os.close(fd)
        netlink.send(hairpin(socket.if_nametoindex(endpoint.device)))
        with namespaces.inside(netns_path), Netlink() as within:
            eth0 = socket.if_nametoindex("eth0")
            within.send(
                new_address(eth0, IPv4Interface(f"{endpoint.address}/{endpoint.prefix}")),
                *(new_address(eth0, ip_interface(address)) for address in endpoint.link_local),
                set_link(eth0, up=True),
                default_route(eth0, IPv4Address(endpoint.gateway).packed),
            )
            carrier_settled("eth0")
        carrier_settled(endpoint.device)
        carrier_settled(network.device)

    def detach(self, endpoint: Endpoint) -> None:
        """Takes the host's end off the bridge under another name; the kernel destroys the pair with the namespace, some ms later.

        Not deleted here: that would wait 15-35 ms for RCU. The new name keeps `ls /sys/class/net/veth*` equal to what runs.
        """
        index = _index(endpoint.device)
        if index == 0:
            return
        netlink = self._open()
        name = "gone" + endpoint.device.removeprefix("veth")
        try:
            netlink.send(set_link(index, name=name, master=0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            # Before Linux 6.3 a device that is up keeps its name.
            netlink.send(delete_link(index))

    def sweep(self, network: Network, keep: set[str]) -> list[str]:
        """Deletes pairs left over on the network's bridge, and detached ones; returns their names. Puts kept ones back on the bridge."""
        netlink = self._open()
        bridge = _index(network.device)
        swept = []
        for link in links(netlink):
            if link.kind != "veth":
                continue
            if link.name in keep:
                if link.master != bridge:
                    netlink.send(set_link(link.index, master=bridge, up=True), hairpin(link.index))
            elif (link.master == bridge and _VETH.match(link.name)) or (link.master == 0 and _GONE.match(link.name)):
                _tolerant(netlink, errno.ENODEV, delete_link(link.index))
                swept.append(link.name)
        return swept

    def close(self) -> None:
        """Closes the socket."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def _open(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink()
        return self._netlink


def alias(network: Network) -> str:
    """Returns the mark by which a bridge is known as this network's, over restarts and beside other engines."""
    return f"skerry {network.id}"


def device_name(preferred: list[str], network: Network) -> str:
    """Returns the first name that no device has, or that this network's own bridge has; then skerry1, skerry2, ..."""
    with Netlink() as netlink:
        present = {link.name: link.alias for link in links(netlink)}
    number = 0
    names = list(preferred)
    while True:
        for name in names:
            if present.get(name, alias(network)) == alias(network):
                return name
        number += 1
        names = [f"skerry{number}"]


def device_exists(name: str) -> bool:
    """Tells whether the host has a device of that name."""
    return _index(name) != 0


def delete(name: str) -> None:
    """Deletes a device."""
    with Netlink() as netlink:
        netlink.send(delete_link(socket.if_nametoindex(name)))


def host_routes(but: str = "") -> list[IPv4Network]:
    """Returns the networks that the host reaches directly, without those of the device `but`. Blocks briefly."""
    found = []
    with open("/proc/thread-self/net/route", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            device, destination, gateway, *rest = line.split()
            if device != but and gateway == "00000000" and destination != "00000000":
                address, mask = (IPv4Address(bytes.fromhex(text)[::-1]) for text in (destination, rest[4]))
                found.append(IPv4Network(f"{address}/{mask}"))
    return found


def enable_forwarding() -> bool:
    """Lets this namespace forward IPv4 packets; returns whether that was off."""
    path = "/proc/sys/net/ipv4/ip_forward"
    with open(path, "r+b", buffering=0) as switch:
        if switch.read(1) == b"1":
            return False
        switch.seek(0)
        switch.write(b"1")
    return True


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name) if name else 0
    except OSError:
        return 0


def _tolerant(netlink: Netlink, number: int, *messages: tuple[int, int, bytes]) -> None:
    try:
        netlink.send(*messages)
    except OSError as error:
        if error.errno != number:
            raise
