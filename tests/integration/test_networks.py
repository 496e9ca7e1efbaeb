"""The network manager with the real kernel: what a container on the default bridge can reach, and who can reach it."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from integration.netns import HOST_ADDRESS, OUTSIDE_ADDRESS, Namespace, lab, namespace
from integration.networks_service import Client, directory, listener, port, reach, running, sandbox_place
from skerry.api.events.v1 import events_pb2
from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.core.errors import Conflict, Failed, InvalidArgument, NotFound
from skerry.core.ids import new_id

pytestmark = pytest.mark.root


@pytest.fixture
def places() -> Iterator[tuple[Namespace, Namespace]]:
    with lab("networks") as (host, outside), host.entered():
        yield host, outside


@pytest.fixture
def path(places: tuple[Namespace, Namespace]) -> Iterator[str]:
    with directory() as made:
        yield made


@pytest.fixture
async def client(path: str) -> AsyncIterator[Client]:
    async with running(path) as made:
        yield made


async def test_the_default_bridge_is_there_from_the_start(client: Client, places: tuple[Namespace, Namespace]) -> None:
    host, _ = places
    assert "172.17.0.1/16" in host.run("ip", "-o", "addr", "show", "docker0")
    bridge = await client.network("bridge")
    assert (bridge.driver, bridge.scope, bridge.pools[0].subnet, bridge.pools[0].gateway) == (
        "bridge", "local", "172.17.0.0/16", "172.17.0.1",
    )  # fmt: skip
    assert bridge.options["com.docker.network.bridge.name"] == "docker0"
    assert [(await client.network(name)).driver for name in ("host", "none")] == ["host", "null"]
    assert (await client.network(bridge.id[:6])).name == "bridge"
    with pytest.raises(NotFound, match="network nosuch not found"):
        await client.network("nosuch")


async def test_two_sandboxes_talk_over_the_bridge_and_reach_the_outside_masqueraded(
    client: Client, places: tuple[Namespace, Namespace]
) -> None:
    _, outside = places
    one, two = await client.create(), await client.create()
    assert [s.endpoints[0].ipv4_address for s in (one, two)] == ["172.17.0.2", "172.17.0.3"]
    assert one.endpoints[0].mac_address == "02:42:ac:11:00:02"
    with listener(sandbox_place(two), 80) as server:
        assert reach(sandbox_place(one), "172.17.0.3", 80, server) == "172.17.0.2"
    with listener(outside, 80) as server:
        assert reach(sandbox_place(one), OUTSIDE_ADDRESS, 80, server) == HOST_ADDRESS
    outside.run("ip", "route", "add", "172.17.0.0/16", "via", HOST_ADDRESS)
    with listener(sandbox_place(two), 80), pytest.raises(OSError, match="timed out"):
        reach(outside, "172.17.0.3", 80, timeout=0.3)


async def test_a_published_port_is_reached_from_everywhere_until_released(client: Client, places: tuple[Namespace, Namespace]) -> None:
    host, outside = places
    sandbox, other = await client.create(ports=[port(80, 8080)]), await client.create()
    assert [(p.host_ip, p.host_port, p.container_port) for p in sandbox.ports] == [("0.0.0.0", 8080, 80), ("::", 8080, 80)]
    with listener(sandbox_place(sandbox), 80) as server:
        assert reach(outside, HOST_ADDRESS, 8080, server) == OUTSIDE_ADDRESS  # the true client
        assert reach(host, "127.0.0.1", 8080, server) == "172.17.0.1"
        assert reach(host, HOST_ADDRESS, 8080, server)
        assert reach(sandbox_place(sandbox), "172.17.0.1", 8080, server)  # its own, by hairpin
        assert reach(sandbox_place(sandbox), HOST_ADDRESS, 8080, server)
        assert reach(sandbox_place(other), HOST_ADDRESS, 8080, server)
    await client.release(sandbox.container_id)
    for place, address in ((outside, HOST_ADDRESS), (host, "127.0.0.1")):
        with pytest.raises(ConnectionRefusedError):
            reach(place, address, 8080)


async def test_a_published_tcp_port_is_reached_over_ipv6_by_relay(client: Client, places: tuple[Namespace, Namespace]) -> None:
    host, _ = places
    sandbox = await client.create(ports=[port(80, 8080)])
    with listener(sandbox_place(sandbox), 80) as server:
        with host.entered():
            reader, writer = await asyncio.open_connection("::1", 8080)
        accepted, peer = await asyncio.to_thread(server.accept)
        assert peer[0] == "172.17.0.1"
        writer.write(b"x" * 300_000)
        writer.write_eof()
        with accepted:
            data = await asyncio.to_thread(lambda: b"".join(iter(lambda: accepted.recv(65536), b"")))
            assert len(data) == 300_000
            accepted.sendall(b"thanks")
        assert await reader.read() == b"thanks"
        writer.close()
        await writer.wait_closed()
    with host.entered():
        _, writer = await asyncio.open_connection("::1", 8080)  # nobody listens inside now
        writer.close()
        await client.release(sandbox.container_id)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("::1", 8080)


@pytest.mark.parametrize("bridged", ["0", "1"])
async def test_hairpin_works_whether_or_not_bridged_packets_pass_the_firewall(
    client: Client, places: tuple[Namespace, Namespace], bridged: str
) -> None:
    places[0].run("sysctl", "-w", f"net.bridge.bridge-nf-call-iptables={bridged}")
    sandbox, other = await client.create(ports=[port(80, 8080)]), await client.create()
    with listener(sandbox_place(sandbox), 80) as server:
        assert reach(sandbox_place(sandbox), HOST_ADDRESS, 8080, server) == "172.17.0.1"
        assert reach(sandbox_place(other), HOST_ADDRESS, 8080, server) == "172.17.0.1"


async def test_a_port_of_loopback_is_for_the_host_alone(client: Client, places: tuple[Namespace, Namespace]) -> None:
    host, outside = places
    sandbox = await client.create(ports=[port(80, 8080, host_ip="127.0.0.1")])
    assert [p.host_ip for p in sandbox.ports] == ["127.0.0.1"]
    outside.run("ip", "route", "add", "127.0.0.2/32", "via", HOST_ADDRESS)
    with listener(sandbox_place(sandbox), 80) as server:
        assert reach(host, "127.0.0.1", 8080, server)
        with pytest.raises(ConnectionRefusedError):
            reach(outside, HOST_ADDRESS, 8080)


async def test_loopback_services_of_the_host_are_out_of_a_containers_reach(client: Client, places: tuple[Namespace, Namespace]) -> None:
    """route_localnet lets the bridge carry 127/8; a container that gives up its own loopback must not profit."""
    host, _ = places
    place = sandbox_place(await client.create())
    place.run("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    place.run("sysctl", "-w", "net.ipv4.conf.eth0.route_localnet=1")
    place.run("ip", "route", "flush", "table", "local", check=False)
    place.run("ip", "route", "add", "local", "172.17.0.2", "dev", "eth0", "table", "local", check=False)
    place.run("ip", "route", "replace", "127.0.0.1/32", "via", "172.17.0.1", "dev", "eth0", "onlink", "src", "172.17.0.2")
    with listener(host, 2222), pytest.raises(TimeoutError):
        reach(place, "127.0.0.1", 2222, timeout=0.4)
    drops = host.run("nft", "list", "chain", "inet", "skerry", "raw_prerouting")
    assert "127.0.0.0/8 drop" in drops


async def test_udp_is_published_and_flows_from_before_are_forgotten(client: Client, places: tuple[Namespace, Namespace]) -> None:
    _, outside = places
    with outside.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect((HOST_ADDRESS, 5353))
    sender.settimeout(2)
    with sender:
        sender.send(b"too early")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(10)
        for _ in range(2):  # the second sandbox gets another address: the flow must not stay with the first
            blocker = await client.create()
            sandbox = await client.create(ports=[port(53, 5353, protocol="udp")])
            with sandbox_place(sandbox).entered():
                server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with server:
                server.bind(("0.0.0.0", 53))
                server.settimeout(2)
                sender.send(b"hello")
                data, peer = server.recvfrom(10)
                assert (data, peer[0]) == (b"hello", OUTSIDE_ADDRESS)
                server.sendto(b"you", peer)
                assert sender.recv(10) == b"you"
            await client.release(sandbox.container_id)
        await client.release(blocker.container_id)


async def test_random_ports_come_from_the_hosts_range_and_pass_over_taken_ones(client: Client, places: tuple[Namespace, Namespace]) -> None:
    places[0].run("sysctl", "-w", "net.ipv4.ip_local_port_range=40000 40002")
    with listener(places[0], 40001):
        sandbox = await client.create(ports=[port(80), port(81)], publish_exposed=["80/tcp"])
        assert sorted({p.host_port for p in sandbox.ports}) == [40000, 40002]
        with pytest.raises(Failed, match="all ports are allocated"):
            await client.create(ports=[port(80)])
    exposed = await client.create(publish_exposed=["80/tcp"])
    assert {(p.host_port, p.container_port) for p in exposed.ports} == {(40001, 80)}


async def test_a_range_gives_the_first_free_port(client: Client) -> None:
    ranges = [port(80, 9000, host_port_end=9001)]
    sandboxes = [await client.create(ports=ranges) for _ in range(2)]
    assert [s.ports[0].host_port for s in sandboxes] == [9000, 9001]
    with pytest.raises(Failed, match="all ports are allocated"):
        await client.create(ports=ranges)


async def test_a_taken_port_is_refused_in_dockers_words_and_nothing_is_left(client: Client, places: tuple[Namespace, Namespace]) -> None:
    host, _ = places
    await client.create(ports=[port(80, 18080)])
    before = len(host.devices())
    text = r"driver failed programming external connectivity on endpoint db \([0-9a-f]{64}\): "
    with pytest.raises(Failed, match=text + r"Bind for 0\.0\.0\.0:18080 failed: port is already allocated$"):
        await client.create(container_name="db", ports=[port(81, 18081), port(80, 18080)])
    with (
        listener(host, 18082),
        pytest.raises(Failed, match=text + r"failed to bind host port for 0\.0\.0\.0:18082:\S+: address already in use"),
    ):
        await client.create(container_name="db", ports=[port(81, 18081), port(80, 18082)])
    assert len(host.devices()) == before
    with host.entered(), socket.socket() as program:  # and the other way round
        program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="Address already in use"):
            program.bind(("0.0.0.0", 18080))
    assert (await client.create(ports=[port(81, 18081)])).endpoints[0].ipv4_address == "172.17.0.3"


async def test_a_port_in_time_wait_is_free(client: Client, places: tuple[Namespace, Namespace]) -> None:
    host, _ = places
    with listener(host, 8081) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reach(host, "127.0.0.1", 8081, server)
    assert (await client.create(ports=[port(80, 8081)])).ports[0].host_port == 8081
    with host.entered(), pytest.raises(OSError, match="in use"):
        socket.create_server(("0.0.0.0", 8081)).close()


async def test_the_lowest_address_is_given_first_and_again_at_once(client: Client, places: tuple[Namespace, Namespace]) -> None:
    sandboxes = [await client.create() for _ in range(3)]
    assert len(places[0].devices()) == 3
    await client.release(sandboxes[1].container_id)
    assert len(places[0].devices()) == 2
    again = await client.create()
    assert again.endpoints[0].ipv4_address == "172.17.0.3"
    with listener(sandbox_place(again), 80) as server:
        assert reach(sandbox_place(sandboxes[0]), "172.17.0.3", 80, server) == "172.17.0.2"


async def test_create_is_idempotent_per_run_and_release_spares_later_runs(client: Client) -> None:
    first = await client.create(ports=[port(80, 8080)])
    assert await client.create(first.container_id, ports=[port(80, 8080)]) == first
    second = await client.create(first.container_id, run=2, ports=[port(80, 8080)])
    assert second.sandbox_id != first.sandbox_id
    await client.release(first.container_id, run=1)
    assert await client.get(first.container_id) == second
    with pytest.raises(Conflict):
        await client.create(first.container_id, run=1)
    await client.release(first.container_id, run=2)
    await client.release(first.container_id, run=2)
    with pytest.raises(NotFound):
        await client.get(first.container_id)


async def test_host_none_and_container_modes(client: Client, places: tuple[Namespace, Namespace]) -> None:
    web = await client.create()
    joined = await client.create(mode=pb.NETWORK_MODE_CONTAINER, join_container_id=web.container_id)
    assert (joined.netns_path, joined.hosts_path, joined.hostname, len(joined.endpoints)) == (
        web.netns_path, web.hosts_path, web.hostname, 0,
    )  # fmt: skip
    with pytest.raises(Conflict, match="cannot join network of a non running container"):
        await client.create(mode=pb.NETWORK_MODE_CONTAINER, join_container_id=new_id())
    await client.release(joined.container_id)
    assert os.path.ismount(web.netns_path)

    host = await client.create(mode=pb.NETWORK_MODE_HOST, hostname="")
    assert (host.netns_path, host.hostname, host.endpoints[0].network_name) == ("", os.uname().nodename, "host")
    assert [endpoint.container_id for endpoint in (await client.network("host")).endpoints] == [host.container_id]

    none = await client.create(mode=pb.NETWORK_MODE_NONE, ports=[port(80, 8080)])
    devices = sandbox_place(none).run("ip", "-o", "link").splitlines()
    assert len(devices) == 1
    assert "LOOPBACK,UP" in devices[0]
    assert not none.ports
    assert none.endpoints[0].network_name == "none"


async def test_files_outlive_a_release_but_not_a_removal(client: Client) -> None:
    sandbox = await client.create(extra_hosts=["db:10.0.0.9", "me:host-gateway"], link_hosts=["172.17.0.9 cache redis"])
    with open(sandbox.hosts_path) as file:
        assert file.read().splitlines()[6:] == [
            "10.0.0.9\tdb", "172.17.0.1\tme", "172.17.0.9\tcache redis", f"172.17.0.2\t{sandbox.hostname}",
        ]  # fmt: skip
    with open(sandbox.hostname_path) as file:
        assert file.read() == f"{sandbox.container_id[:12]}\n"
    await client.release(sandbox.container_id)
    assert os.path.exists(sandbox.resolv_conf_path)
    await client.remove(sandbox.container_id)
    await client.remove(sandbox.container_id)
    assert not os.path.exists(os.path.dirname(sandbox.resolv_conf_path))


async def test_connect_and_disconnect_are_told_with_dockers_attributes(client: Client) -> None:
    sandbox = await client.create()
    await client.release(sandbox.container_id)
    subscription = events_pb2.SubscribeRequest(since_ns=1)
    events = []
    async for item in client.stub.Subscribe(pb.SubscribeRequest(subscription=subscription)):
        if item.item.WhichOneof("item") == "live":
            break
        events.append(item.item.event)
    bridge = await client.network("bridge")
    attributes = {"container": sandbox.container_id, "name": "bridge", "type": "bridge"}
    assert [(e.action, e.type, e.actor_id, dict(e.attributes)) for e in events] == [
        (action, "network", bridge.id, attributes) for action in ("connect", "disconnect")
    ]


async def test_forty_sandboxes_eight_at_a_time(client: Client, places: tuple[Namespace, Namespace]) -> None:
    gate = asyncio.Semaphore(8)

    async def one(number: int) -> pb.Sandbox:
        async with gate:
            return await client.create(ports=[port(80, 10000 + number)])

    sandboxes = await asyncio.gather(*map(one, range(40)))
    assert len({s.endpoints[0].ipv4_address for s in sandboxes}) == 40
    assert len(places[0].devices()) == 40
    with listener(sandbox_place(sandboxes[39]), 80) as server:
        assert reach(places[1], HOST_ADDRESS, 10039, server) == OUTSIDE_ADDRESS
    await asyncio.gather(*(client.release(s.container_id) for s in sandboxes))
    assert places[0].devices() == []
    assert await client.all() == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"hostname": "a\nb"}, "invalid hostname"),
        ({"extra_hosts": ["a:1.2.3.4\n6.6.6.6 bank"]}, "invalid IP address in add-host"),
        ({"extra_hosts": ["nonsense"]}, 'bad format for add-host: "nonsense"'),
        ({"dns": ["resolver"]}, "resolver is not an ip address"),
        ({"dns_search": ["a\nnameserver 6.6.6.6"]}, "invalid DNS search domain"),
        ({"ports": [port(0, 80)]}, "invalid containerPort: 0"),
        ({"ports": [port(80, 80, protocol="icmp")]}, "invalid proto: icmp"),
        ({"ports": [port(80, 80, host_ip="0.0.0.0 }; flush ruleset")]}, "invalid IP address"),
        (
            {"endpoints": [pb.EndpointRequest(network="bridge", ipv4_address="172.17.0.9")]},
            "user specified IP address is supported on user",
        ),
    ],
)
async def test_bad_input_changes_nothing(client: Client, places: tuple[Namespace, Namespace], fields: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        await client.create(**fields)
    with pytest.raises(InvalidArgument):
        await client.create("../../etc")
    with pytest.raises(NotFound, match="network nosuch not found"):
        await client.create(endpoints=[pb.EndpointRequest(network="nosuch")])
    assert await client.all() == []
    assert places[0].devices() == []


async def test_many_ports_of_all_protocols_are_published_and_withdrawn_at_once(client: Client, places: tuple[Namespace, Namespace]) -> None:
    many = [port(1000 + number, 20000 + number) for number in range(900)]
    sandbox = await client.create(ports=[*many, port(7, 7, protocol="sctp"), port(8, 8, host_ip=HOST_ADDRESS, protocol="udp")])
    published = "".join(places[0].run("nft", "list", "map", "inet", "skerry", name) for name in ("pub4", "pub4ip"))
    assert published.count("172.17.0.2 . ") == 902
    assert "sctp . 7 : 172.17.0.2 . 7" in published
    assert f"{HOST_ADDRESS} . udp . 8 : 172.17.0.2 . 8" in published
    with listener(sandbox_place(sandbox), 1899) as server:
        assert reach(places[1], HOST_ADDRESS, 20899, server) == OUTSIDE_ADDRESS
    await client.release(sandbox.container_id)
    assert "172.17.0.2" not in places[0].run("nft", "list", "table", "inet", "skerry")


def test_labs_leave_nothing_behind() -> None:
    with namespace("networks") as made:
        path = made.path
        assert os.path.exists(path)
    assert not os.path.exists(path)
