"""Forgetting UDP flows: a flow keeps the translation it began with, so one that began before a port was published (or moved) is cut."""

import socket
import struct

from skerry.networks.netlink import NETFILTER, Netlink, attribute, attributes

_GET, _DELETE = 0x101, 0x102
_HEAD = struct.pack("=BBH", socket.AF_INET, 0, 0)
_TUPLE_ORIGINAL, _PROTOCOL, _NUMBER, _DESTINATION_PORT, _ZONE = 1, 2, 1, 3, 18


def forget_udp(ports: set[int]) -> int:
    """Deletes the IPv4 UDP flows whose original destination port is one of ports; returns how many. Worker's thread; raises OSError."""
    if not ports:
        return 0
    deleted = 0
    with Netlink(NETFILTER) as netlink:
        for body in netlink.dump((_GET, 0, _HEAD)):
            found = attributes(body[4:])
            original = found.get(_TUPLE_ORIGINAL, b"")
            transport = attributes(attributes(original).get(_PROTOCOL, b""))
            if transport.get(_NUMBER) != bytes([socket.IPPROTO_UDP]):
                continue
            if int.from_bytes(transport.get(_DESTINATION_PORT, b""), "big") not in ports:
                continue
            zone = attribute(_ZONE, found[_ZONE]) if _ZONE in found else b""
            try:
                netlink.send((_DELETE, 0, _HEAD + attribute(_TUPLE_ORIGINAL | 0x8000, original) + zone))
                deleted += 1
            except FileNotFoundError:
                pass  # it ended by itself
    return deleted
