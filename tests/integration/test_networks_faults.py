"""The network manager when things go wrong: a step that fails, a killed service, a flushed firewall, a host that is not empty."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from integration.netns import HOST_ADDRESS, OUTSIDE_ADDRESS, Namespace, lab
from integration.networks_service import Client, directory, listener, port, reach, running, sandbox_place
from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.api.networks.v1.networks_pb2_grpc import NetworksServiceStub
from skerry.core import failpoints
from skerry.core.errors import Failed
from skerry.core.ids import new_id
from skerry.core.rpc.channel import open_channel
from skerry.networks.sandbox import STEPS

pytestmark = pytest.mark.root


@pytest.fixture
def places() -> Iterator[tuple[Namespace, Namespace]]:
    with lab("networks") as (host, outside), host.entered():
        yield host, outside


@pytest.fixture
def path(places: tuple[Namespace, Namespace]) -> Iterator[str]:
    with directory() as made:
        yield made


@pytest.fixture(autouse=True)
def no_failpoints() -> Iterator[None]:
    yield
    failpoints.activate({})


@asynccontextmanager
async def process(path: str, **environment: str) -> AsyncIterator[tuple[Client, subprocess.Popen[bytes]]]:
    """The service as a process of its own in the calling thread's network namespace."""
    env = {**os.environ, "SKERRY_ROOT": f"{path}/root", "SKERRY_RUN": f"{path}/run", "PYTHONPATH": "services", **environment}
    with subprocess.Popen([sys.executable, "-m", "skerry.networks"], env=env) as started:
        try:
            async with open_channel(f"unix:{path}/run/networks.sock") as channel:
                await asyncio.wait_for(channel.channel_ready(), 20)
                yield Client(NetworksServiceStub(channel)), started
        finally:
            started.kill()


def left(host: Namespace, path: str) -> dict[str, object]:
    """All that a sandbox may leave behind, but for its files."""
    return {
        "devices": host.devices(),
        "namespaces": os.listdir(f"{path}/run/netns"),
        "published": "tcp" in host.run("nft", "list", "map", "inet", "skerry", "pub4", check=False),
        "descriptors": sorted(fd for fd in _sockets() if "8080" in fd),
    }


def _sockets() -> list[str]:
    return subprocess.run(["ss", "-Hanp", "sport", "=", ":8080"], capture_output=True, text=True, check=True).stdout.splitlines()


NOTHING = {"devices": [], "namespaces": [], "published": False, "descriptors": []}


@pytest.mark.parametrize("step", STEPS)
async def test_a_create_that_fails_at_any_step_leaves_nothing_and_can_be_repeated(
    places: tuple[Namespace, Namespace], path: str, step: str
) -> None:
    async with running(path) as client:
        failpoints.activate({f"networks.create.{step}": "fail"})
        container_id = new_id()
        with pytest.raises(Failed, match="failpoint"):
            await client.create(container_id, ports=[port(80, 8080)])
        assert left(places[0], path) == NOTHING
        assert await client.all() == []
        failpoints.activate({})
        sandbox = await client.create(container_id, ports=[port(80, 8080)])
        assert sandbox.endpoints[0].ipv4_address == "172.17.0.2"
        with listener(sandbox_place(sandbox), 80) as server:
            assert reach(places[1], HOST_ADDRESS, 8080, server) == OUTSIDE_ADDRESS


@pytest.mark.parametrize("step", STEPS)
async def test_a_service_killed_at_any_step_of_a_create_leaves_nothing_after_its_restart(
    places: tuple[Namespace, Namespace], path: str, step: str
) -> None:
    async with process(path, SKERRY_FAILPOINTS=f"networks.create.{step}=kill") as (client, started):
        with pytest.raises(Exception, match=r"closed|UNAVAILABLE|Stream removed"):
            await client.create(ports=[port(80, 8080)])
        assert await asyncio.to_thread(started.wait, 10) == -signal.SIGKILL
    async with running(path) as client:
        assert left(places[0], path) == NOTHING
        assert (await client.create(ports=[port(80, 8080)])).endpoints[0].ipv4_address == "172.17.0.2"


@pytest.mark.parametrize("step", ["taken_back", "forgotten"])
async def test_a_service_killed_in_a_release_finishes_it_at_its_restart(places: tuple[Namespace, Namespace], path: str, step: str) -> None:
    async with process(path, SKERRY_FAILPOINTS=f"networks.release.{step}=kill") as (client, started):
        sandbox = await client.create(ports=[port(80, 8080)])
        with pytest.raises(Exception, match=r"closed|UNAVAILABLE|Stream removed"):
            await client.release(sandbox.container_id)
        assert await asyncio.to_thread(started.wait, 10) == -signal.SIGKILL
    async with running(path) as client:
        assert await client.all() == []
        assert left(places[0], path) == NOTHING
        await client.release(sandbox.container_id)


async def test_a_release_that_fails_keeps_the_record_and_succeeds_when_repeated(places: tuple[Namespace, Namespace], path: str) -> None:
    async with running(path) as client:
        sandbox = await client.create(ports=[port(80, 8080)])
        failpoints.activate({"networks.release.taken_back": "fail:1"})
        with pytest.raises(Failed):
            await client.release(sandbox.container_id)
        await client.release(sandbox.container_id)
        assert left(places[0], path) == NOTHING


async def test_sandboxes_outlive_a_killed_service(places: tuple[Namespace, Namespace], path: str) -> None:
    host, outside = places
    async with process(path) as (client, started):
        sandbox = await client.create(ports=[port(80, 8080), port(53, 5353, protocol="udp")])
        joined = await client.create(mode=pb.NETWORK_MODE_CONTAINER, join_container_id=sandbox.container_id)
        on_host = await client.create(mode=pb.NETWORK_MODE_HOST)
        started.kill()
        await asyncio.to_thread(started.wait)
        with listener(sandbox_place(sandbox), 80) as server:
            assert reach(outside, HOST_ADDRESS, 8080, server) == OUTSIDE_ADDRESS
    async with process(path) as (client, started):
        assert await client.all() == [sandbox, joined, on_host]
        with listener(sandbox_place(sandbox), 80) as server:
            assert reach(outside, HOST_ADDRESS, 8080, server) == OUTSIDE_ADDRESS
            assert reach(host, "127.0.0.1", 8080, server) == "172.17.0.1"
        with pytest.raises(Failed, match="port is already allocated"):
            await client.create(ports=[port(80, 8080)])
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("0.0.0.0", 8080)).close()
        other = await client.create()
        assert other.endpoints[0].ipv4_address == "172.17.0.3"
        for made in (sandbox, joined, on_host, other):
            await client.release(made.container_id)
        started.terminate()
        assert await asyncio.to_thread(started.wait, 10) == 0
    assert left(host, path) == NOTHING


async def test_what_vanished_while_the_service_was_away_is_dropped_or_mended(places: tuple[Namespace, Namespace], path: str) -> None:
    host, outside = places
    async with running(path) as client:
        gone, kept = await client.create(ports=[port(80, 8080)]), await client.create(ports=[port(80, 8081)])
    assert host.devices() != []
    host.run("ip", "link", "del", _host_end(host, gone))
    host.run("nft", "flush", "ruleset")
    host.run("ip", "link", "del", "docker0")
    async with running(path) as client:
        assert [s.container_id for s in await client.all()] == [kept.container_id]
        assert len(host.devices()) == 1
        with listener(sandbox_place(kept), 80) as server:
            assert reach(outside, HOST_ADDRESS, 8081, server) == OUTSIDE_ADDRESS
        assert (await client.create(ports=[port(80, 8080)])).endpoints[0].ipv4_address == "172.17.0.2"


def _host_end(host: Namespace, sandbox: pb.Sandbox) -> str:
    index = sandbox_place(sandbox).run("ip", "-o", "link", "show", "eth0").split("@if")[1].split(":")[0]
    return next(name for name in host.devices() if str(socket.if_nametoindex(name)) == index)


async def test_a_flushed_firewall_is_loaded_again_at_once(places: tuple[Namespace, Namespace], path: str) -> None:
    host, outside = places
    async with running(path) as client:
        sandbox = await client.create(ports=[port(80, 8080)])
        for command in (["flush", "ruleset"], ["flush", "table", "inet", "skerry"], ["delete", "table", "inet", "skerry"]):
            host.run("nft", *command)
            await asyncio.sleep(0.3)
            with listener(sandbox_place(sandbox), 80) as server:
                assert reach(outside, HOST_ADDRESS, 8080, server) == OUTSIDE_ADDRESS
        host.run("nft", "flush", "ruleset")
        await client.release(sandbox.container_id)  # whoever comes first
        assert left(host, path) == NOTHING


async def test_other_tables_are_left_alone(places: tuple[Namespace, Namespace], path: str) -> None:
    host, _ = places
    host.run("nft", "add table ip mine; add chain ip mine c; add rule ip mine c counter")
    async with running(path, table="other") as client:
        await client.create(ports=[port(80, 8080)])
        text = host.run("nft", "list", "ruleset")
    assert "table ip mine" in text
    assert "table inet other" in text


async def test_a_foreign_docker0_is_left_alone(places: tuple[Namespace, Namespace], path: str) -> None:
    host, outside = places
    host.run("ip", "link", "add", "docker0", "type", "bridge")
    host.run("ip", "addr", "add", "172.17.0.1/16", "dev", "docker0")
    host.run("ip", "link", "set", "docker0", "up")
    before = host.run("ip", "addr", "show", "docker0")
    for _ in range(2):  # found again by its mark
        async with running(path) as client:
            bridge = await client.network("bridge")
            assert (bridge.options["com.docker.network.bridge.name"], bridge.pools[0].subnet) == ("skerry0", "172.18.0.0/16")
            sandbox = await client.create(ports=[port(80, 8080)])
            with listener(sandbox_place(sandbox), 80) as server:
                assert reach(outside, HOST_ADDRESS, 8080, server) == OUTSIDE_ADDRESS
            await client.release(sandbox.container_id)
    assert host.run("ip", "addr", "show", "docker0") == before
    with directory() as second:
        async with running(second, table="second") as client:
            bridge = await client.network("bridge")
            assert (bridge.options["com.docker.network.bridge.name"], bridge.pools[0].subnet) == ("skerry1", "172.19.0.0/16")


async def test_a_set_bridge_and_address_are_used(places: tuple[Namespace, Namespace], path: str) -> None:
    async with running(path, bridge="br-web", bridge_address="10.9.8.1/24", publish_address="127.0.0.1", mtu=1400) as client:
        sandbox = await client.create(ports=[port(80, 8080)])
        assert [p.host_ip for p in sandbox.ports] == ["127.0.0.1"]
        assert (sandbox.endpoints[0].ipv4_address, sandbox.endpoints[0].ipv4_prefix) == ("10.9.8.2", 24)
        assert "mtu 1400" in sandbox_place(sandbox).run("ip", "link", "show", "eth0")
        assert "10.9.8.1/24" in places[0].run("ip", "addr", "show", "br-web")


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
async def test_a_firewall_that_drops_forwarded_packets_is_reported(
    places: tuple[Namespace, Namespace], path: str, program: str, caplog: pytest.LogCaptureFixture
) -> None:
    places[0].run(program, "-P", "FORWARD", "DROP")
    async with running(path):
        assert "another firewall drops forwarded packets" in caplog.text
    assert "-P FORWARD DROP" in places[0].run(program, "-S", "FORWARD")


def test_a_bad_setting_is_one_line_and_status_1() -> None:
    for name, value in (("SKERRY_NETWORKS_BRIDGE", "a b"), ("SKERRY_NETWORKS_TABLE", "x{}"), ("SKERRY_NETWORKS_NOSUCH", "1")):
        env = {**os.environ, "PYTHONPATH": "services", "SKERRY_ROOT": "/proc/nowhere", "SKERRY_RUN": "/proc/nowhere", name: value}
        ended = subprocess.run([sys.executable, "-m", "skerry.networks"], env=env, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert value in ended.stderr or name in ended.stderr
