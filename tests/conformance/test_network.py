"""Networks of docker run: addresses, published ports, host, none, container, files in /etc."""

import json
import re
import subprocess
import sys

import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers
SERVE = ("busybox", "sh", "-c", "mkdir /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w")

_ECHO = """import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 99)); print("ready", flush=True)
while True:
    data, peer = s.recvfrom(99); s.sendto(data.upper(), peer)
"""
_ASK = """import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10); s.connect(("127.0.0.1", 18084)); s.send(b"echo"); print(s.recv(99))
"""


def _get(engine: Engine, url: str) -> str:
    return engine.inside("curl", "-s", "-m", "2", url, check=False)


def _served(engine: Engine, url: str) -> None:
    wait_until(lambda: _get(engine, url) == "served\n", f"{url} answers")


def _veths(engine: Engine) -> int:
    return sum(bool(re.match(r"\d+: veth", line)) for line in engine.inside("ip", "-o", "link").splitlines())


def _address(engine: Engine, name: str) -> str:
    return engine.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)


@covers("run --net=bridge")
def test_addresses_follow_one_another(engine: Engine) -> None:
    ids = [engine.out("run", "-d", "busybox", "sleep", "100") for _ in range(3)]
    numbers = [int(_address(engine, one).removeprefix("172.17.0.")) for one in ids]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
    inside = engine.out("exec", ids[0], "ip", "-o", "-4", "addr")
    assert f"eth0    inet {_address(engine, ids[0])}/16" in inside and "lo    inet 127.0.0.1/8" in inside
    assert "default via 172.17.0.1 dev eth0" in engine.out("exec", ids[0], "ip", "route")


def test_a_veth_for_each_running_container(engine: Engine) -> None:
    assert _veths(engine) == 0
    ids = [engine.out("run", "-d", "busybox", "sleep", "100") for _ in range(3)]
    assert _veths(engine) == 3
    engine.docker("run", "-d", "--net", "none", "busybox", "sleep", "100")
    assert _veths(engine) == 3
    engine.docker("rm", "-f", ids[0])
    assert _veths(engine) == 2
    engine.docker("stop", "-t", "0", ids[1])
    assert _veths(engine) == 1
    engine.docker("rm", "-f", *ids[1:])
    assert _veths(engine) == 0


def test_containers_reach_each_other_and_the_host(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, *SERVE)
    address = _address(engine, name)
    _served(engine, f"http://{address}/")
    assert engine.out("run", "--rm", "busybox", "wget", "-qO-", f"http://{address}/") == "served"
    assert "172.17.0.1" in engine.out("run", "--rm", "busybox", "ping", "-c", "1", "-W", "2", "172.17.0.1")


@covers("run -p:fixed", "port")
def test_a_fixed_port(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-p", "18082:80", *SERVE)
    _served(engine, "http://127.0.0.1:18082/")
    _served(engine, "http://172.17.0.1:18082/")
    assert "80/tcp -> 0.0.0.0:18082" in engine.out("port", name).splitlines()
    assert "0.0.0.0:18082" in engine.out("port", name, "80/tcp").splitlines()
    engine.docker("rm", "-f", name)
    assert _get(engine, "http://127.0.0.1:18082/") == ""


@covers("run -p:random")
def test_a_random_port(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-p", "80", *SERVE)
    number = engine.out("port", name, "80").splitlines()[0].rpartition(":")[2]
    assert int(number) >= 1024
    _served(engine, f"http://127.0.0.1:{number}/")


@covers("run -p:address")
def test_a_host_address(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-p", "127.0.0.1:18083:80", *SERVE)
    _served(engine, "http://127.0.0.1:18083/")
    assert _get(engine, "http://172.17.0.1:18083/") == ""
    assert engine.out("port", name) == "80/tcp -> 127.0.0.1:18083"


@covers("run -p:udp")
def test_udp(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-p", "18084:99/udp", "busybox", "sleep", "100")
    assert engine.out("port", name).splitlines()[0] == "99/udp -> 0.0.0.0:18084"
    # busybox has no UDP server: one of ours answers in the container's network namespace.
    pid = engine.out("inspect", "-f", "{{.State.Pid}}", name)
    with subprocess.Popen(["nsenter", "-t", pid, "-n", sys.executable, "-c", _ECHO], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            assert engine.inside(sys.executable, "-c", _ASK) == "b'ECHO'\n"
        finally:
            server.kill()


@covers("run -P", "run --expose")
def test_publish_all(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-P", "--expose", "80", "--expose", "81/udp", *SERVE)
    rows = engine.out("port", name).splitlines()
    assert {row.split(" ")[0] for row in rows} == {"80/tcp", "81/udp"}
    number = next(row for row in rows if row.startswith("80/tcp -> 0.0.0.0:")).rpartition(":")[2]
    _served(engine, f"http://127.0.0.1:{number}/")


def test_a_taken_port_is_refused(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-p", "18085:80", *SERVE)
    result = engine.docker("run", "-d", "--name", f"{name}b", "-p", "18085:80", *SERVE, check=False)
    assert result.returncode == 125
    assert "port is already allocated" in result.stderr
    assert engine.out("inspect", "-f", "{{.State.Status}}", f"{name}b") == "created"


def test_a_container_reaches_its_own_published_port(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-p", "18086:80", *SERVE)
    _served(engine, "http://127.0.0.1:18086/")
    assert engine.out("exec", name, "timeout", "5", "wget", "-qO-", "http://172.17.0.1:18086/") == "served"


@covers("run --net=none")
def test_none(engine: Engine) -> None:
    said = engine.out("run", "--rm", "--net", "none", "busybox", "ip", "-o", "addr")
    assert {line.split()[1] for line in said.splitlines()} == {"lo"}


@covers("run --net=host")
def test_host(engine: Engine) -> None:
    said = engine.out("run", "--rm", "--net", "host", "busybox", "sh", "-c", "hostname; ip -o link")
    assert said.splitlines()[0] == engine.inside("hostname").strip()
    assert "docker0" in said
    theirs = engine.out("run", "--rm", "--net", "host", "busybox", "readlink", "/proc/self/ns/net")
    assert theirs == engine.inside("readlink", "/proc/self/ns/net").strip()


@covers("run --net=container")
def test_another_containers_network(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, *SERVE)
    before = _veths(engine)
    said = engine.out("run", "--rm", "--net", f"container:{name}", "busybox", "sh", "-c", "ip -o -4 addr show eth0; hostname")
    assert _address(engine, name) in said
    assert said.splitlines()[-1] == engine.out("exec", name, "hostname")
    fetch = ("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://127.0.0.1/ && break; sleep 0.1; done")
    assert engine.out("run", "--rm", "--net", f"container:{name}", "busybox", *fetch) == "served"
    assert _veths(engine) == before


def test_files_in_etc(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    hosts = engine.out("exec", name, "cat", "/etc/hosts").splitlines()
    short = engine.out("inspect", "-f", "{{.Id}}", name)[:12]
    assert hosts[0] == "127.0.0.1\tlocalhost"
    assert "::1\tlocalhost ip6-localhost ip6-loopback" in hosts
    assert hosts[-1] == f"{_address(engine, name)}\t{short}"
    assert engine.out("exec", name, "cat", "/etc/hostname") == short
    assert "nameserver " in engine.out("exec", name, "cat", "/etc/resolv.conf")
    script = 'for f in hosts hostname resolv.conf; do grep -c " /etc/$f " /proc/mounts; done'
    assert engine.out("exec", name, "sh", "-c", script).split() == ["1", "1", "1"]


def test_inspect_shows_the_network(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-p", "18087:80", "busybox", "sleep", "100")
    settings = json.loads(engine.out("inspect", "-f", "{{json .NetworkSettings}}", name))
    bridge = settings["Networks"]["bridge"]
    assert settings["Gateway"] == bridge["Gateway"] == "172.17.0.1"
    assert settings["IPPrefixLen"] == bridge["IPPrefixLen"] == 16
    assert settings["IPAddress"] == bridge["IPAddress"]
    assert re.fullmatch("02:42(:[0-9a-f]{2}){4}", bridge["MacAddress"])
    assert re.fullmatch("[0-9a-f]{64}", bridge["NetworkID"])
    assert {"HostIp": "0.0.0.0", "HostPort": "18087"} in settings["Ports"]["80/tcp"]
    engine.docker("stop", "-t", "0", name)
    stopped = json.loads(engine.out("inspect", "-f", "{{json .NetworkSettings}}", name))
    assert (stopped["IPAddress"], stopped["Ports"], stopped["Networks"]["bridge"]["IPAddress"]) == ("", {}, "")


def test_the_predefined_networks(engine: Engine) -> None:
    rows = engine.out("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}").splitlines()
    assert {"bridge bridge local", "host host local", "none null local"} <= set(rows)


def test_an_unknown_network_is_refused(engine: Engine) -> None:
    result = engine.docker("run", "--rm", "--net", "nosuch", "busybox", "true", check=False)
    assert result.returncode == 125
    assert "network nosuch not found" in result.stderr
