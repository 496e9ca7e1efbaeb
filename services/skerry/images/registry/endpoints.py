"""Where a registry is asked: its mirrors, its own address, by https or http, with its certificate looked at or not."""

import ipaddress
import re
from collections.abc import Iterable, Sequence

import msgspec

from skerry.images.reference import DEFAULT_DOMAIN

_HUB = "registry-1.docker.io"
_PORT = re.compile(r":\d+$")
# As Docker: what runs on this machine needs no certificate.
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Endpoint(msgspec.Struct, frozen=True):
    """Where a repository is asked for: base URL without a slash at its end."""

    base: str
    mirror: bool = False
    # Whether the server's certificate must be good.
    verify: bool = True

    @property
    def host(self) -> str:
        """HOST or HOST:PORT."""
        return self.base.partition("://")[2].partition("/")[0]


def host_of(domain: str) -> str:
    """Returns HOST or HOST:PORT of the registry that a domain in image names means."""
    return _HUB if domain == DEFAULT_DOMAIN else domain


def name_of(host: str) -> str:
    """Returns a host without its port and an IPv6 address without its brackets."""
    return _PORT.sub("", host).strip("[]")


def networks(insecure: Iterable[str]) -> list[Network]:
    """Returns the CIDRs of a list of insecure registries, those that always count as such among them."""
    found: list[Network] = list(_LOOPBACK)
    for one in insecure:
        try:
            if "/" in one:
                found.append(ipaddress.ip_network(one, strict=False))
        except ValueError:
            continue  # a host of that name never matches
    return found


def is_insecure(host: str, insecure: Sequence[str], addresses: Sequence[str]) -> bool:
    """Tells whether a registry may do without a good certificate: named so, with or without its port, or at an address of such a CIDR."""
    if host in insecure or name_of(host) in insecure:
        return True
    known = []
    for one in addresses:
        try:
            known.append(ipaddress.ip_address(one.partition("%")[0]))
        except ValueError:
            continue
    return any(address in network for address in known for network in networks(insecure))


def endpoints(domain: str, mirrors: Sequence[str], insecure: Sequence[str], addresses: Sequence[str] = ()) -> list[Endpoint]:
    """Returns where to ask, best first: mirrors (of docker.io only), the registry by https, and by http when it counts as insecure.

    addresses are those of the registry's host.
    """
    found: list[Endpoint] = []
    for mirror in mirrors if domain == DEFAULT_DOMAIN else ():
        base = mirror.rstrip("/")
        if "://" not in base:
            base = f"https://{base}"
        one = Endpoint(base, mirror=True)
        name = name_of(one.host)
        found.append(msgspec.structs.replace(one, verify=not is_insecure(one.host, insecure, [name, *_local(name)])))
    host = host_of(domain)
    name = name_of(host)
    if is_insecure(host, insecure, [name, *_local(name), *addresses]):
        return [*found, Endpoint(f"https://{host}", verify=False), Endpoint(f"http://{host}", verify=False)]
    return [*found, Endpoint(f"https://{host}")]


def _local(name: str) -> list[str]:
    return ["127.0.0.1"] if name == "localhost" else []
