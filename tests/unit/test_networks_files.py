"""The files in /etc, against what dockerd 20.10 writes."""

import os
from pathlib import Path

import pytest

from skerry.core.errors import InvalidArgument
from skerry.networks.files import Resolver, Texts, extra_hosts, hosts, nameservers, remove, resolv_conf, write

DEFAULT = (
    b"127.0.0.1\tlocalhost\n"
    b"::1\tlocalhost ip6-localhost ip6-loopback\n"
    b"fe00::0\tip6-localnet\n"
    b"ff00::0\tip6-mcastprefix\n"
    b"ff02::1\tip6-allnodes\n"
    b"ff02::2\tip6-allrouters\n"
)


@pytest.mark.parametrize(
    ("hostname", "domainname", "addresses", "extra", "lines"),
    [
        ("d8ab1c5c2a7e", "", ["172.17.0.2"], [], b"172.17.0.2\td8ab1c5c2a7e\n"),
        ("web.example.org", "", ["172.17.0.2"], [], b"172.17.0.2\tweb.example.org web\n"),
        ("web", "example.org", ["172.17.0.2"], [], b"172.17.0.2\tweb.example.org web\n"),
        ("web", "", [], [], b""),
        ("web", "", ["172.17.0.2"], [("10.0.0.1", "db"), ("::1", "six")], b"10.0.0.1\tdb\n::1\tsix\n172.17.0.2\tweb\n"),
    ],
)
def test_hosts(hostname: str, domainname: str, addresses: list[str], extra: list[tuple[str, str]], lines: bytes) -> None:
    assert hosts(hostname, domainname, addresses, extra) == DEFAULT + lines


def test_extra_hosts_may_name_the_gateway_and_ipv6() -> None:
    assert extra_hosts(["db:10.0.0.1", "me:host-gateway", "six:fe80::1"], "172.17.0.1") == [
        ("10.0.0.1", "db"), ("172.17.0.1", "me"), ("fe80::1", "six"),
    ]  # fmt: skip
    for bad in ("", "db", ":1.2.3.4", "db:"):
        with pytest.raises(InvalidArgument, match="bad format for add-host"):
            extra_hosts([bad], "")
    with pytest.raises(InvalidArgument, match="host-gateway"):
        extra_hosts(["me:host-gateway"], "")


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        (b"nameserver 10.0.0.2\n", b"nameserver 10.0.0.2\n"),
        (b"# c\nsearch a b\nnameserver 10.0.0.2\noptions ndots:2\n", b"# c\nsearch a b\nnameserver 10.0.0.2\noptions ndots:2\n"),
        (b"nameserver 127.0.0.53\nnameserver 10.0.0.2\n", b"nameserver 10.0.0.2\n"),
        (b"nameserver 10.0.0.2\nnameserver fd00::1\nsearch a\n", b"nameserver 10.0.0.2\nsearch a\n"),
        (b"nameserver 127.0.0.53\noptions edns0\n", b"options edns0\n\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        (b"nameserver ::1\n", b"\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        (b"", b"\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        (b"nameserver fd00::1\n", b"\nnameserver 8.8.8.8\nnameserver 8.8.4.4"),
    ],
)
def test_resolv_conf_follows_the_host(host: bytes, wanted: bytes) -> None:
    assert resolv_conf(host, Resolver()) == wanted


def test_resolv_conf_of_settings_takes_the_rest_from_the_host() -> None:
    host = b"search corp\nnameserver 10.0.0.2\nnameserver 127.0.0.53 # stub\noptions ndots:2\n"
    assert resolv_conf(host, Resolver(servers=("1.1.1.1", "1.0.0.1"))) == (
        b"search corp\nnameserver 1.1.1.1\nnameserver 1.0.0.1\noptions ndots:2\n"
    )
    assert resolv_conf(host, Resolver(search=("example.org", "b"), options=("rotate",))) == (
        b"search example.org b\nnameserver 10.0.0.2\nnameserver 127.0.0.53\noptions rotate\n"
    )
    assert resolv_conf(host, Resolver(search=(".",))) == b"nameserver 10.0.0.2\nnameserver 127.0.0.53\noptions ndots:2\n"


def test_nameservers_are_found_whatever_the_blanks() -> None:
    assert nameservers(b"nameserver\t10.0.0.2\n  nameserver  10.0.0.3 # x\n#nameserver 1.1.1.1\n") == ["10.0.0.2", "10.0.0.3"]


def test_files_are_rewritten_in_place_and_removed(tmp_path: Path) -> None:
    directory = str(tmp_path / "sandbox")
    write(directory, Texts(b"long hosts\n", b"a\n", b"r\n"))
    before = os.stat(f"{directory}/hosts").st_ino
    write(directory, Texts(b"h\n", b"a\n", b"r\n"))
    assert (tmp_path / "sandbox" / "hosts").read_bytes() == b"h\n"
    assert os.stat(f"{directory}/hosts").st_ino == before  # a container has this very file mounted
    assert os.stat(f"{directory}/hosts").st_mode & 0o777 == 0o644
    remove(directory)
    remove(directory)
    assert not os.path.exists(directory)
