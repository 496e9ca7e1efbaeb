"""Which subnet and which address next: pure arithmetic. Docker's order: default pools in turn, the lowest free address first."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from skerry.core.errors import Failed, InvalidArgument

# (base, prefix length of the pieces), as dockerd's local scope has them.
DEFAULT_POOLS = (
    "172.17.0.0/16:16",
    "172.18.0.0/16:16",
    "172.19.0.0/16:16",
    "172.20.0.0/14:16",
    "172.24.0.0/14:16",
    "172.28.0.0/14:16",
    "192.168.0.0/16:20",
)


def subnets(pools: Sequence[str] = DEFAULT_POOLS) -> Iterator[IPv4Network]:
    """Yields every subnet of pools written "BASE/PREFIX:SIZE", in order. Raises InvalidArgument for a text that is none."""
    for text in pools:
        base, _, size = text.partition(":")
        try:
            network = IPv4Network(base)
            yield from network.subnets(new_prefix=int(size or network.prefixlen))
        except ValueError as error:
            raise InvalidArgument(f"invalid address pool {text!r}: {error}") from None


def choose_subnet(pools: Sequence[str], taken: Sequence[IPv4Network]) -> IPv4Network:
    """Returns the first subnet of the pools that overlaps nothing taken. Raises Failed when there is none."""
    for subnet in subnets(pools):
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise Failed("could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network")


def first_address(subnet: IPv4Network) -> IPv4Address:
    """Returns what becomes the gateway. Raises Failed when the subnet has no room for one."""
    if subnet.num_addresses < 4:
        raise Failed("failed to allocate gateway (): No available addresses on this pool")
    return subnet.network_address + 1


def lowest_free(subnet: IPv4Network, reserved: Iterable[IPv4Address], leased: Iterable[IPv4Address], network: str = "") -> IPv4Address:
    """Returns the lowest host address that is neither reserved nor leased. leased must ascend; it is read only up to the first gap.

    Raises Failed, naming network, when the subnet is full.
    """
    kept = set(reserved)
    taken = iter(leased)
    nearest = next(taken, None)
    last = subnet.broadcast_address
    candidate = subnet.network_address + 1
    while candidate < last:
        while nearest is not None and nearest < candidate:
            nearest = next(taken, None)
        if candidate != nearest and candidate not in kept:
            return candidate
        candidate += 1
    raise Failed(f"no available IPv4 addresses on this network's address pools: {network}")


def mac_of(address: IPv4Address) -> str:
    """Returns the MAC address that goes with an address: 02:42 and its four bytes."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + address.packed)
