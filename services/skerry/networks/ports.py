"""Published ports of the host: which are free, and sockets that keep them reserved.

A reservation is a bound socket that nobody listens on: host programs get "address already in use" and so do we from them. Packets
never reach it; the firewall translates them before. Only TCP over IPv6, which cannot be translated, is accepted here and relayed.
For the event loop's thread: binding does not block.
"""

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import msgspec

from skerry.core.errors import Failed
from skerry.networks.records import Port
from skerry.networks.relay import Relay

ANY4, ANY6 = "0.0.0.0", "::"  # noqa: S104 - what Docker calls "all addresses"
_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}


class Binding(msgspec.Struct, frozen=True):
    """What is asked for. host_ip empty: all addresses; host_port 0: any; above host_port host_port_end: any of the range."""

    protocol: str
    container_port: int
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0


class Ports:
    """The ports that sandboxes hold, by container."""

    def __init__(self, relay: Relay, *, publish_address: str = "") -> None:
        """publish_address stands in for an empty host_ip; empty: IPv4 and, where usable, IPv6."""
        self._relay = relay
        self._default = publish_address
        self._held: dict[str, ExitStack] = {}
        self._taken: dict[tuple[str, int], list[str]] = {}
        self._last = 0

    def reserve(self, owner: str, bindings: Sequence[Binding], endpoint: str, target: str) -> tuple[Port, ...]:
        """Reserves all of bindings for owner, or none.

        endpoint is "NAME (ID)" and target the container's address, for the error's text. Raises Failed in Docker's words.
        """
        ports: list[Port] = []
        with ExitStack() as stack:
            for binding in bindings:
                ports += self._reserve(stack, binding, endpoint, target)
            self._held[owner] = stack.pop_all()
        return tuple(ports)

    def hold_again(self, owner: str, ports: Iterable[Port], target: str) -> list[Port]:
        """Takes up the reservations of a sandbox that was there before a restart; returns those that a host program has taken meanwhile."""
        lost = []
        with ExitStack() as stack:
            for port in ports:
                try:
                    self._hold(stack, port, target)
                except OSError:
                    lost.append(port)
            self._held[owner] = stack.pop_all()
        return lost

    def free(self, owner: str) -> None:
        """Gives an owner's ports back. Idempotent."""
        if (stack := self._held.pop(owner, None)) is not None:
            stack.close()

    def close(self) -> None:
        """Gives all reservations back, as the service's end does; what is published stays so."""
        for owner in list(self._held):
            self.free(owner)

    def _reserve(self, stack: ExitStack, binding: Binding, endpoint: str, target: str) -> list[Port]:
        addresses = self._addresses(binding.host_ip)
        fixed = binding.host_port != 0 and binding.host_port_end <= binding.host_port
        for number in self._candidates(binding):
            ports = [Port(binding.protocol, binding.container_port, address, number) for address in addresses]
            with ExitStack() as attempt:
                try:
                    for port in ports:
                        if self._clashes(port):
                            raise _Allocated
                        self._hold(attempt, port, target)
                except _Allocated:
                    if fixed:
                        why = f"Bind for {_bracket(addresses[0])}:{number} failed: port is already allocated"
                        raise Failed(f"driver failed programming external connectivity on endpoint {endpoint}: {why}") from None
                    continue
                except OSError as error:
                    if error.errno != errno.EADDRINUSE or fixed:
                        where = f"{_bracket(addresses[0])}:{number}:{target}:{binding.container_port}/{binding.protocol}"
                        why = f"failed to bind host port for {where}: {os.strerror(error.errno or 0).lower()}"
                        raise Failed(f"driver failed programming external connectivity on endpoint {endpoint}: {why}") from None
                    continue
                stack.push(attempt.pop_all())
                self._last = number if binding.host_port == 0 else self._last
                return ports
        raise Failed(f"driver failed programming external connectivity on endpoint {endpoint}: all ports are allocated")

    def _addresses(self, host_ip: str) -> list[str]:
        if address := host_ip or self._default:
            return [address]
        return [ANY4, ANY6] if ipv6_usable() else [ANY4]

    def _candidates(self, binding: Binding) -> Iterable[int]:
        if binding.host_port:
            return range(binding.host_port, max(binding.host_port, binding.host_port_end) + 1)
        first, last = ephemeral_range()
        start = self._last + 1 if first <= self._last < last else first
        return [*range(start, last + 1), *range(first, start)]

    def _clashes(self, port: Port) -> bool:
        version = ":" in port.host_ip
        same_family = (address for address in self._taken.get((port.protocol, port.host_port), ()) if (":" in address) == version)
        return any(address == port.host_ip or ANY4 in (address, port.host_ip) or ANY6 in (address, port.host_ip) for address in same_family)

    def _hold(self, stack: ExitStack, port: Port, target: str) -> None:
        held = _bind(port)
        if held is not None:
            stack.callback(held.close)
            if ":" in port.host_ip and port.protocol == "tcp":
                self._relay.serve(held, target, port.container_port)
                stack.callback(self._relay.stop, held)
        key = (port.protocol, port.host_port)
        self._taken.setdefault(key, []).append(port.host_ip)
        stack.callback(self._forget, key, port.host_ip)

    def _forget(self, key: tuple[str, int], address: str) -> None:
        self._taken[key].remove(address)
        if not self._taken[key]:
            del self._taken[key]


class _Allocated(Exception):
    """Another sandbox has the port."""


def _bracket(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _bind(port: Port) -> socket.socket | None:
    """Returns None for a protocol that this kernel has no sockets for (SCTP, mostly)."""
    kind, number = _KINDS[port.protocol]
    family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
    try:
        held = socket.socket(family, kind, number)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            return None
        raise
    try:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol == "udp":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        try:
            held.bind((port.host_ip, port.host_port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port.protocol != "tcp":
                raise
            # Connections of a server that has just ended (TIME_WAIT) are no reason to refuse; a listener still is.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((port.host_ip, port.host_port))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except BaseException:
        held.close()
        raise
    return held


def ephemeral_range() -> tuple[int, int]:
    """Returns the first and last port of the host's range for ports that nobody named."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            first, last = map(int, file.read().split())
    except (OSError, ValueError):
        return 49153, 65535
    return first, last


def ipv6_usable() -> bool:
    """Tells whether IPv6 sockets can be bound in this namespace."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
