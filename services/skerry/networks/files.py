"""The texts of /etc/hosts, /etc/hostname and /etc/resolv.conf in containers, byte for byte as Docker writes them.

Pure, but for `read_resolv_conf`, `read_hosts` and `write`.
"""

import os
import re
import shutil
from collections.abc import Sequence

import msgspec

from skerry.core.errors import InvalidArgument

_DEFAULT_HOSTS = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("ff00::0", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
_NAMESERVER = re.compile(rb"(?m)^[^\S\n]*nameserver[^\S\n]+(\S+)")
_LOCAL = re.compile(rb"(?m)^nameserver\s+(?:127\.(?:[0-9]{1,3}\.){2}[0-9]{1,3}|::1$)\s*\n*")
_IPV6 = re.compile(rb"(?m)^nameserver\s+[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*(?:%\w+)?\s*\n*")
_FALLBACK4 = ("8.8.8.8", "8.8.4.4")
_FALLBACK6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")
_RESOLVED_STUB = [b"127.0.0.53"]
_RESOLVED = "/run/systemd/resolve/resolv.conf"
_LIMIT = 1 << 20


class Texts(msgspec.Struct, frozen=True):
    """The three files of one sandbox."""

    hosts: bytes
    hostname: bytes
    resolv_conf: bytes


class Resolver(msgspec.Struct, frozen=True):
    """What --dns, --dns-search and --dns-option say; an empty part is taken from the host."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Tells whether nothing is said."""
        return not (self.servers or self.search or self.options)


def hosts(hostname: str, domainname: str, addresses: Sequence[str], extra: Sequence[tuple[str, str]]) -> bytes:
    """Builds /etc/hosts. extra are (address, names); they come before the container's own lines, as in Docker."""
    full = f"{hostname}.{domainname}" if domainname else hostname
    first, dot, _ = full.partition(".")
    names = f"{full} {first}" if dot else hostname
    lines = [*_DEFAULT_HOSTS, *extra, *((address, names) for address in addresses)]
    return "".join(f"{address}\t{name}\n" for address, name in lines).encode()


def extra_hosts(entries: Sequence[str], gateway: str) -> list[tuple[str, str]]:
    """Reads "name:ip" entries; the ip host-gateway becomes gateway. Raises InvalidArgument in Docker's words."""
    found = []
    for entry in entries:
        name, colon, address = entry.partition(":")
        if not colon or not name or not address:
            raise InvalidArgument(f'bad format for add-host: "{entry}"')
        if address == "host-gateway":
            if not gateway:
                raise InvalidArgument("unable to derive the IP value for host-gateway")
            address = gateway
        found.append((address, name))
    return found


def resolv_conf(host: bytes, resolver: Resolver) -> bytes:
    """Builds /etc/resolv.conf of a container on the default bridge, or on none, from the host's.

    Without settings of its own it gets the host's file less loopback and IPv6 servers, and public servers when none is left.
    """
    if resolver.empty:
        return _without(_without(host, ipv6=True), ipv6=False)
    servers = resolver.servers or tuple(nameservers(host))
    search = resolver.search or tuple(_last(host, "search"))
    options = resolver.options or tuple(_last(host, "options"))
    text = ""
    if search and " ".join(search).strip() != ".":
        text += f"search {' '.join(search)}\n"
    text += "".join(f"nameserver {server}\n" for server in servers)
    if " ".join(options).strip():
        text += f"options {' '.join(options)}\n"
    return text.encode()


def nameservers(text: bytes) -> list[str]:
    """Returns the addresses that a resolv.conf names."""
    return [server.decode("utf-8", "replace") for server in _NAMESERVER.findall(text)]


def read_resolv_conf(path: str = "") -> bytes:
    """Reads the host's file: path, or /etc/resolv.conf, or systemd-resolved's when that one only names its stub. Absent: empty."""
    text = _read(path or "/etc/resolv.conf")
    if not path and _NAMESERVER.findall(text) == _RESOLVED_STUB:
        return _read(_RESOLVED) or text
    return text


def read_hosts(path: str = "") -> bytes:
    """Reads the host's hosts file. Absent: empty."""
    return _read(path or "/etc/hosts")


def write(directory: str, texts: Texts) -> None:
    """Writes the files of a sandbox, in place when they are there (a container may have them mounted). Blocks briefly."""
    try:
        os.mkdir(directory, mode=0o711)
    except FileExistsError:
        pass
    for name, data in (("hosts", texts.hosts), ("hostname", texts.hostname), ("resolv.conf", texts.resolv_conf)):
        fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)


def remove(directory: str) -> None:
    """Removes a sandbox's files. Idempotent."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LIMIT)
    except FileNotFoundError:
        return b""


def _without(text: bytes, *, ipv6: bool) -> bytes:
    kept = _LOCAL.sub(b"", text)
    if not ipv6:
        kept = _IPV6.sub(b"", kept)
    if _NAMESERVER.search(kept) is None:
        servers = (*_FALLBACK4, *_FALLBACK6) if ipv6 else _FALLBACK4
        kept += ("\n" + "\n".join(f"nameserver {server}" for server in servers)).encode()
    return kept


def _last(text: bytes, keyword: str) -> list[str]:
    lines = (line.partition(b"#")[0].decode("utf-8", "replace").split() for line in text.splitlines())
    found = [words[1:] for words in lines if words[:1] == [keyword]]
    return found[-1] if found else []
