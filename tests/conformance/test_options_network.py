"""docker run: names, addresses and files of the container's network, and what contradicts itself."""

import re

import pytest

from engines import Engine

covers = pytest.mark.covers


@covers("run --domainname", "run --hostname", "run --add-host")
def test_names(engine: Engine, name: str) -> None:
    options = ("--name", name, "--hostname", "box", "--domainname", "dom.example", "--add-host", "other:192.0.2.7",
               "--add-host", "six:2001:db8::1", "--add-host", "gateway:host-gateway")  # fmt: skip
    script = "hostname; hostname -f; cat /proc/sys/kernel/domainname /etc/hosts"
    said = engine.out("run", *options, "busybox", "sh", "-c", script)
    assert said.splitlines()[:3] == ["box", "box.dom.example", "dom.example"]
    for line in ("192.0.2.7\tother", "2001:db8::1\tsix", "172.17.0.1\tgateway"):
        assert f"\n{line}\n" in said
    assert re.search(r"^172\.17\.0\.\d+\tbox\.dom\.example box$", said, re.MULTILINE)
    shown = engine.request("GET", f"/containers/{name}/json")[1]
    assert (shown["Config"]["Hostname"], shown["Config"]["Domainname"]) == ("box", "dom.example")
    assert shown["HostConfig"]["ExtraHosts"][0] == "other:192.0.2.7"


@covers("run --add-host")
@pytest.mark.parametrize("network", ["none", "host"])
def test_the_gateway_of_the_host_is_known_everywhere(engine: Engine, network: str) -> None:
    said = engine.out("run", "--rm", "--net", network, "--add-host", "gateway:host-gateway", "busybox", "cat", "/etc/hosts")
    assert "172.17.0.1\tgateway\n" in f"{said}\n"


@covers("run --dns", "run --dns-search", "run --dns-option")
def test_resolver(engine: Engine, name: str) -> None:
    options = ("--dns", "192.0.2.53", "--dns-search", "a.example", "--dns-search", "b.example", "--dns-option", "ndots:2")
    said = engine.out("run", "--name", name, *options, "busybox", "cat", "/etc/resolv.conf")
    assert said == "search a.example b.example\nnameserver 192.0.2.53\noptions ndots:2"
    shown = engine.request("GET", f"/containers/{name}/json")[1]["HostConfig"]
    assert (shown["Dns"], shown["DnsSearch"], shown["DnsOptions"]) == (["192.0.2.53"], ["a.example", "b.example"], ["ndots:2"])


@covers("run --link-local-ip")
def test_link_local_addresses(engine: Engine, name: str) -> None:
    said = engine.out("run", "--name", name, "--link-local-ip", "169.254.7.7", "busybox", "ip", "-4", "addr", "show", "eth0")
    assert re.search(r"inet 172\.17\.0\.\d+/16 ", said) and "inet 169.254.7.7/16 " in said
    shown = engine.request("GET", f"/containers/{name}/json")[1]["NetworkSettings"]["Networks"]["bridge"]
    assert shown["IPAMConfig"] == {"LinkLocalIPs": ["169.254.7.7"]}


@covers("run --mac-address")
def test_mac_address_of_the_api(engine: Engine, name: str) -> None:
    """The command asks for it by network, which dockerd 20.10 did not know."""
    body = {"Image": "busybox", "MacAddress": "92:d0:c6:0a:29:33", "Cmd": ["cat", "/sys/class/net/eth0/address"]}
    assert engine.request("POST", f"/containers/create?name={name}", body)[0] == 201
    assert engine.out("start", "-a", name) == "92:d0:c6:0a:29:33"
    assert engine.out("inspect", "-f", "{{.Config.MacAddress}}", name) == "92:d0:c6:0a:29:33"


@covers("run --expose", "run -p", "run -P")
def test_ports_are_shown(engine: Engine, name: str) -> None:
    ports = ("--expose", "80", "--expose", "90-91/udp", "-p", "81", "-p", "127.0.0.1:18082:82/udp", "-p", "18100-18101:83-84")
    engine.docker("create", "--name", name, *ports, "busybox")
    shown = engine.request("GET", f"/containers/{name}/json")[1]
    exposed = ["80/tcp", "81/tcp", "82/udp", "83/tcp", "84/tcp", "90/udp", "91/udp"]
    assert sorted(shown["Config"]["ExposedPorts"]) == exposed
    assert shown["HostConfig"]["PortBindings"]["82/udp"] == [{"HostIp": "127.0.0.1", "HostPort": "18082"}]
    assert shown["HostConfig"]["PortBindings"]["84/tcp"] == [{"HostIp": "", "HostPort": "18101"}]


def test_published_ports_of_the_hosts_network_are_discarded(engine: Engine) -> None:
    result = engine.docker("create", "--net", "host", "-p", "80", "busybox")
    assert "Published ports are discarded when using host network mode" in result.stderr


@covers("run --net=host")
def test_the_hosts_name(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--net", "host", "busybox", "hostname")
    shown = engine.out("inspect", "-f", "{{.Config.Hostname}}", name)
    assert shown == engine.inside("hostname").strip() == engine.out("start", "-a", name)


@covers("run --ip", "run --ip6", "run --network-alias", "run --network", "run --link", "run --add-host")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ip", "172.17.0.50"), "user specified IP address is supported on user defined networks only"),
        (("--ip6", "2001:db8::33"), "user specified IP address is supported on user defined networks only"),
        (("--network-alias", "x"), "network-scoped aliases are only supported for user-defined networks"),
        (("--network", "nosuch"), "network nosuch not found"),
        (("--net", "host", "--link", "x"), "conflicting options: host type networking can't be used with links. This would result in"),
        (("--net", "container:x", "--link", "x"), "conflicting options: container type network can't be used with links. This would"),
        (("--net", "container:x", "--hostname", "x"), "conflicting options: hostname and the network mode"),
        (("--net", "container:x", "--dns", "1.2.3.4"), "conflicting options: dns and the network mode"),
        (("--net", "container:x", "--add-host", "a:1.2.3.4"), "conflicting options: custom host-to-IP mapping and the network mode"),
        (("--net", "container:x", "-p", "80"), "conflicting options: port publishing and the container type network mode"),
        (("--net", "container:x", "-P"), "conflicting options: port publishing and the container type network mode"),
        (("--net", "container:x", "--expose", "80"), "conflicting options: port exposing and the container type network mode"),
        (("--add-host", "a:b"), 'invalid IP address in add-host: "b"'),
        (("-p", "99999"), "99999"),
        (("-p", "80/nosuch"), "invalid proto: nosuch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be(engine: Engine, options: tuple[str, ...], said: str) -> None:
    result = engine.docker("run", "--rm", *options, "busybox", "echo", "ran", check=False)
    assert result.returncode == 125 and said in result.stderr


@pytest.mark.parametrize(
    ("config", "host", "said"),
    [
        ({}, {"NetworkMode": "container:"}, "Invalid network mode: invalid container format container:<name|id>"),
        ({"MacAddress": "92:d0:c6:0a:29:33"}, {"NetworkMode": "host"}, "conflicting options: mac-address and the network mode"),
        ({"MacAddress": "92:d0:c6:0a:29:33"}, {"NetworkMode": "container:x"}, "conflicting options: mac-address and the network mode"),
        ({}, {"ExtraHosts": ["nocolon"]}, 'bad format for add-host: "nocolon"'),
        ({}, {"ExtraHosts": ["a:b"]}, 'invalid IP address in add-host: "b"'),
    ],
)
def test_what_the_api_refuses(engine: Engine, config: dict[str, str], host: dict[str, object], said: str) -> None:
    body = {"Image": "busybox", **config, "HostConfig": host}
    assert engine.request("POST", "/containers/create", body) == (400, {"message": said})
