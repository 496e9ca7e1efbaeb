"""Netlink by hand: a socket that sends batches and reads dumps, and the few messages of rtnetlink that are needed here.

All calls block briefly and raise OSError with the kernel's number. A socket stays in the network namespace it was opened in.
"""

import array
import errno
import fcntl
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv6Interface

import msgspec

ROUTE = 0
NETFILTER = 12

_REQUEST, _ACK, _DUMP, _CREATE, _EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _CAP_ACK = 270, 10
_HEADER = struct.Struct("=IHHII")

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_NEWROUTE = 20, 24
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_PROTINFO = 1, 3, 4, 10, 12
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_NET_NS_FD, _IFLA_TX_QUEUES, _IFLA_RX_QUEUES = 18, 20, 28, 31, 32
_IFF_UP = 1
_SIOCETHTOOL, _ETHTOOL_GLINK = 0x8946, 0xA

Message = tuple[int, int, bytes]


def attribute(kind: int, value: bytes) -> bytes:
    """Packs one attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Packs attributes into one."""
    return attribute(kind | 0x8000, b"".join(attributes))


def attributes(data: bytes) -> dict[int, bytes]:
    """Unpacks attributes; of a kind that comes twice the last one counts."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


class Netlink:
    """One netlink socket, used by one thread at a time."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.settimeout(30)
        self._socket.bind((0, 0))
        self._sequence = 1

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def send(self, *messages: Message) -> None:
        """Sends all messages at once. The kernel runs each; raises OSError for the first that failed, after all were answered."""
        parts = []
        for kind, flags, payload in messages:
            parts.append(_HEADER.pack(16 + len(payload), kind, flags | _REQUEST | _ACK, self._sequence, 0) + payload)
            self._sequence += 1
        self._socket.send(b"".join(parts))
        waiting, first = len(messages), 0
        while waiting:
            for kind, payload in self._receive():
                if kind == _ERROR:
                    waiting -= 1
                    first = first or -struct.unpack_from("=i", payload)[0]
        if first:
            raise OSError(first, os.strerror(first))

    def transaction(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """Sends messages between two that the kernel does not answer; it runs all or none. Raises OSError for the first that failed."""
        parts = []
        for kind, flags, payload in (begin, *messages, end):
            acknowledge = 0 if kind in (begin[0], end[0]) else _ACK
            parts.append(_HEADER.pack(16 + len(payload), kind, flags | _REQUEST | acknowledge, self._sequence, 0) + payload)
            self._sequence += 1
        self._socket.send(b"".join(parts))
        answers, failed = 0, 0
        # The kernel runs it all within send, so every answer is queued now; a batch that failed as a whole has one only.
        while self._pending():
            for kind, payload in self._receive():
                if kind == _ERROR:
                    answers += 1
                    failed = failed or -struct.unpack_from("=i", payload)[0]
        if failed or answers < len(messages):
            raise OSError(failed or errno.EPROTO, os.strerror(failed or errno.EPROTO))

    def _pending(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def dump(self, message: Message) -> list[bytes]:
        """Returns the payloads of all answers to a dump request."""
        kind, flags, payload = message
        self._sequence += 1
        self._socket.send(_HEADER.pack(16 + len(payload), kind, flags | _REQUEST | _DUMP, self._sequence, 0) + payload)
        found: list[bytes] = []
        while True:
            for answer, body in self._receive():
                if answer == _DONE:
                    return found
                if answer == _ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, os.strerror(number))
                found.append(body)

    def _receive(self) -> Iterator[tuple[int, bytes]]:
        data = self._socket.recv(1 << 18)
        offset = 0
        while offset < len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
            yield kind, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3


class Link(msgspec.Struct, frozen=True):
    """One network device as the kernel lists it. master is an index, 0 for none."""

    index: int
    name: str
    master: int
    kind: str
    alias: str


def links(netlink: Netlink) -> list[Link]:
    """Returns all devices of the namespace."""
    found = []
    for body in netlink.dump((RTM_GETLINK, 0, _ifinfo())):
        _, _, index, _, _ = struct.unpack_from("=BxHiII", body)
        values = attributes(body[16:])
        info = attributes(values.get(_IFLA_LINKINFO, b""))
        found.append(
            Link(
                index,
                _text(values.get(_IFLA_IFNAME, b"")),
                int.from_bytes(values.get(_IFLA_MASTER, b""), sys.byteorder),
                _text(info.get(1, b"")),
                _text(values.get(_IFLA_IFALIAS, b"")),
            )
        )
    return found


def carrier_settled(name: str) -> bool:
    """Tells whether a device has a carrier, after the kernel has acted on that.

    A device that just got its carrier drops what it is given until the kernel's link watcher, some ms later, starts its queue; the
    first packet of a fast container would be lost, for a second. Asking as ethtool does makes the kernel do it now.
    """
    answer = array.array("I", [_ETHTOOL_GLINK, 0])
    address, _ = answer.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), address))
    return answer[1] != 0


def new_bridge(name: str, mac: bytes, mtu: int) -> Message:
    """Makes a bridge, up, with an address of its own: without one the bridge takes, and changes, those of its ports."""
    info = nested(_IFLA_LINKINFO, attribute(1, b"bridge"))
    body = attribute(_IFLA_IFNAME, _name(name)) + attribute(_IFLA_ADDRESS, mac) + attribute(_IFLA_MTU, _u32(mtu)) + info
    return RTM_NEWLINK, _CREATE | _EXCLUSIVE, _ifinfo(flags=_IFF_UP) + body


def new_veth(name: str, master: int, peer: str, peer_ns: int, peer_mac: bytes, mtu: int) -> Message:
    """Makes a pair: name, up and on a bridge, here; peer in the namespace behind the descriptor.

    The peer is made there directly (moving a device costs 17 ms) and is not up: the kernel refuses that with ENOTCONN. One queue
    each: what is more serves no container and takes time.
    """
    queues = attribute(_IFLA_MTU, _u32(mtu)) + attribute(_IFLA_TX_QUEUES, _u32(1)) + attribute(_IFLA_RX_QUEUES, _u32(1))
    other = attribute(_IFLA_IFNAME, _name(peer)) + attribute(_IFLA_NET_NS_FD, _u32(peer_ns)) + attribute(_IFLA_ADDRESS, peer_mac)
    info = nested(_IFLA_LINKINFO, attribute(1, b"veth"), nested(2, attribute(1, _ifinfo() + other + queues)))
    body = attribute(_IFLA_IFNAME, _name(name)) + queues + attribute(_IFLA_MASTER, _u32(master)) + info
    return RTM_NEWLINK, _CREATE | _EXCLUSIVE, _ifinfo(flags=_IFF_UP) + body


def set_link(index: int, *, name: str = "", master: int | None = None, alias: str = "", up: bool = False) -> Message:
    """Changes a device."""
    body = _ifinfo(index, flags=_IFF_UP if up else 0)
    if name:
        body += attribute(_IFLA_IFNAME, _name(name))
    if alias:
        body += attribute(_IFLA_IFALIAS, alias.encode())
    if master is not None:
        body += attribute(_IFLA_MASTER, _u32(master))
    return RTM_NEWLINK, 0, body


def hairpin(index: int) -> Message:
    """Lets a bridge send a frame back through the port it came from."""
    return RTM_SETLINK, 0, _ifinfo(index, family=socket.AF_BRIDGE) + nested(_IFLA_PROTINFO, attribute(4, b"\1"))


def delete_link(index: int) -> Message:
    """Deletes a device and waits until the kernel is done with it (15-35 ms)."""
    return RTM_DELLINK, 0, _ifinfo(index)


def new_address(index: int, address: IPv4Interface | IPv6Interface) -> Message:
    """Gives a device an address. EEXIST when it has it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    head = struct.pack("=BBBBI", family, address.network.prefixlen, 0, 0, index)
    broadcast = attribute(4, address.network.broadcast_address.packed) if address.version == 4 else b""
    return RTM_NEWADDR, _CREATE | _EXCLUSIVE, head + attribute(1, address.packed) + attribute(2, address.packed) + broadcast


def default_route(index: int, gateway: bytes) -> Message:
    """Sends all that has no better way to gateway."""
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)
    return RTM_NEWROUTE, _CREATE | _EXCLUSIVE, head + attribute(5, gateway) + attribute(4, _u32(index))


def _ifinfo(index: int = 0, flags: int = 0, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, flags, flags)


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _name(name: str) -> bytes:
    return name.encode() + b"\0"


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
