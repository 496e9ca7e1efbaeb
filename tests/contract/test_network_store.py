"""The definition of NetworkStore; every implementation passes it."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from skerry.api.events.v1 import events_pb2
from skerry.core.errors import Conflict, Failed
from skerry.core.journal import Journal
from skerry.networks.records import Endpoint, Network, Port, Sandbox
from skerry.networks.store import NetworkStore, Wanted, open_store

BRIDGE = Network(id="b" * 64, name="bridge", driver="bridge", created_ns=1, subnet="10.0.0.0/29", gateway="10.0.0.1", device="docker0")
HOST = Network(id="a" * 64, name="host", driver="host", created_ns=1)


@pytest.fixture(params=["sqlite"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[NetworkStore, Journal]]:
    async with open_store(str(tmp_path / "networks.db")) as (store, journal):
        await store.put_network(HOST)
        await store.put_network(BRIDGE)
        yield store, journal


@pytest.fixture
def store(opened: tuple[NetworkStore, Journal]) -> NetworkStore:
    return opened[0]


def sandbox(name: str) -> Sandbox:
    return Sandbox(container_id=name, container_name=name, run=1, mode=1, sandbox_id="s" + name, created_ns=1)


def on(network: Network) -> list[Wanted]:
    return [Wanted(network, Endpoint(id="e", network_id=network.id, network_name=network.name, driver=network.driver))]


async def addresses(store: NetworkStore) -> dict[str, str]:
    return {s.container_id: s.endpoints[0].address for s in await store.sandboxes()}


async def test_networks_are_kept_replaced_by_id_and_sorted_by_name(store: NetworkStore) -> None:
    assert await store.networks() == [BRIDGE, HOST]
    moved = msgspec.structs.replace(BRIDGE, device="skerry0")
    await store.put_network(moved)
    assert await store.networks() == [moved, HOST]
    with pytest.raises(Conflict, match="network with name bridge already exists"):
        await store.put_network(msgspec.structs.replace(BRIDGE, id="c" * 64))


async def test_each_sandbox_gets_the_lowest_free_address(store: NetworkStore) -> None:
    begun = [await store.begin(sandbox(name), on(BRIDGE)) for name in "xyz"]
    assert [s.endpoints[0].address for s in begun] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    assert (begun[0].endpoints[0].prefix, begun[0].endpoints[0].gateway, begun[0].ready) == (29, "10.0.0.1", False)
    await store.release("y", ())
    assert (await store.begin(sandbox("w"), on(BRIDGE))).endpoints[0].address == "10.0.0.3"
    assert await addresses(store) == {"x": "10.0.0.2", "z": "10.0.0.4", "w": "10.0.0.3"}


async def test_a_network_without_a_subnet_gives_no_address(store: NetworkStore) -> None:
    assert (await store.begin(sandbox("x"), on(HOST))).endpoints[0].address == ""


async def test_a_full_network_refuses_and_records_nothing(store: NetworkStore) -> None:
    for name in "abcde":
        await store.begin(sandbox(name), on(BRIDGE))
    with pytest.raises(Failed, match="no available IPv4 addresses on this network's address pools: bridge"):
        await store.begin(sandbox("f"), on(BRIDGE))
    assert await store.find("f") is None
    await store.release("c", ())
    assert (await store.begin(sandbox("f"), on(BRIDGE))).endpoints[0].address == "10.0.0.4"


async def test_a_second_sandbox_of_a_container_is_refused_and_takes_no_address(store: NetworkStore) -> None:
    await store.begin(sandbox("x"), on(BRIDGE))
    with pytest.raises(Conflict):
        await store.begin(sandbox("x"), on(BRIDGE))
    assert (await store.begin(sandbox("y"), on(BRIDGE))).endpoints[0].address == "10.0.0.3"


async def test_completing_keeps_all_and_writes_the_events(opened: tuple[NetworkStore, Journal]) -> None:
    store, _ = opened
    begun = await store.begin(sandbox("x"), on(BRIDGE))
    ready = msgspec.structs.replace(begun, ready=True, ports=(Port("tcp", 80, "0.0.0.0", 8080),), hostname="h")
    event = events_pb2.Event(type="network", action="connect")
    await store.complete(ready, [event])
    assert event.sequence == 1
    assert await store.find("x") == ready
    assert await store.sandboxes() == [ready]
    with pytest.raises(Conflict):
        await store.complete(sandbox("nosuch"), [events_pb2.Event()])


async def test_releasing_is_idempotent_and_its_events_are_written_once(store: NetworkStore) -> None:
    await store.begin(sandbox("x"), on(BRIDGE))
    first, second = events_pb2.Event(action="disconnect"), events_pb2.Event(action="disconnect")
    await store.release("x", [first])
    await store.release("x", [second])
    assert (first.sequence, second.sequence) == (1, 0)
    assert await store.find("x") is None


async def test_all_is_there_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "again.db")
    async with open_store(path) as (store, _):
        await store.put_network(BRIDGE)
        begun = await store.begin(sandbox("x"), on(BRIDGE))
    async with open_store(path) as (store, _):
        assert await store.sandboxes() == [begun]
        assert (await store.begin(sandbox("y"), on(BRIDGE))).endpoints[0].address == "10.0.0.3"
