"""Which proxy a request goes through, by HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go reads them."""

import ipaddress
from collections.abc import Mapping

import msgspec
from yarl import URL

from skerry.core.errors import InvalidArgument

_PORTS = {"http": 80, "https": 443}


class Proxies(msgspec.Struct, frozen=True):
    """URLs of the proxies ("": none), and what goes past them."""

    http: str = ""
    https: str = ""
    past: tuple[str, ...] = ()

    def for_url(self, url: URL) -> str | None:
        """Returns the proxy for a URL. This machine is never asked through one."""
        proxy = self.https if url.scheme == "https" else self.http
        host = (url.host or "").lower().rstrip(".")
        if not proxy or host == "localhost" or _is_loopback(host):
            return None
        port = url.port or _PORTS.get(url.scheme, 0)
        return None if any(_matches(one, host, port) for one in self.past) else proxy


def from_environment(environ: Mapping[str, str]) -> Proxies:
    """Reads the variables, in upper or lower case. Raises InvalidArgument for a proxy of a kind that is not known."""

    def proxy(name: str) -> str:
        value = environ.get(name) or environ.get(name.lower()) or ""
        if value and "://" not in value:
            value = f"http://{value}"
        if value and not value.startswith(("http://", "https://")):
            raise InvalidArgument(f"{name}: proxies are asked by http or https, not {value.partition('://')[0]}")
        return value

    past = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    return Proxies(proxy("HTTP_PROXY"), proxy("HTTPS_PROXY"), tuple(one.strip().lower() for one in past.split(",") if one.strip()))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _matches(rule: str, host: str, port: int) -> bool:
    """ "*", a CIDR, an address, or a name that stands for itself and all below it (".name": only those below); each with a port or not."""
    if rule == "*":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    name, colon, tail = rule.rpartition(":")
    if colon and tail.isdigit() and (name.startswith("[") or ":" not in name):
        if int(tail) != port:
            return False
        rule = name
    rule = rule.strip("[]")
    if address is not None:
        return rule == host
    if rule.startswith("*."):
        rule = rule[1:]
    return host.endswith(rule) if rule.startswith(".") else host == rule or host.endswith(f".{rule}")
