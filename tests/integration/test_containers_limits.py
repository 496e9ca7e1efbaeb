"""Updates and samples of real containers, with the service's deaths between: what was answered holds, what was refused changed nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from integration.containers_node import NodeUnderTest, containers_node
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, NotFound
from skerry.core.rpc.channel import call

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]
M = 1 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[NodeUnderTest]:
    async with containers_node() as running:
        yield running


async def update(node: NodeUnderTest, container: str, **resources: int | str) -> list[str]:
    request = pb.UpdateRequest(container=container, resources=pb.Resources(**resources), set_pids_limit="pids_limit" in resources)
    return list((await call(lambda: node.containers.Update(request))).warnings)


def file(record: pb.Container, *names: str) -> str:
    """Returns the first of the cgroup's files that there is: "memory/memory.limit_in_bytes", or v2's without a hierarchy."""
    for name in names:
        hierarchy, _, rest = name.rpartition("/")
        path = Path("/sys/fs/cgroup", hierarchy, record.cgroup_path.lstrip("/"), rest)
        if path.exists():
            return path.read_text().strip()
    raise AssertionError(f"none of {names}")


def memory(record: pb.Container) -> str:
    return file(record, "memory/memory.limit_in_bytes", "memory.max")


def shares(record: pb.Container) -> str:
    return file(record, "cpu/cpu.shares", "cpu.weight")


async def test_an_update_outlives_the_service(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "100", resources=pb.Resources(memory=32 * M, memory_swap=64 * M))
    await node.start_container(container)
    await update(node, container, memory=48 * M, cpu_quota=30_000)
    await node.end(signal.SIGKILL)
    await node.start()
    record = await node.get(container)
    assert (record.spec.resources.memory, record.spec.resources.cpu_quota, memory(record)) == (48 * M, 30_000, str(48 * M))
    await update(node, container, memory=16 * M)
    assert memory(await node.get(container)) == str(16 * M)
    await node.remove(container)


async def test_what_the_kernel_refuses_is_undone(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "100")
    await node.start_container(container)
    before = await node.get(container)
    told = shares(before), memory(before)
    # The kernel gives no real-time to a group whose parent has none; where it has no such limit the request is refused at once.
    with pytest.raises((Failed, InvalidArgument)):
        await update(node, container, cpu_shares=300, memory_reservation=16 * M, cpu_realtime_runtime=1000)
    after = await node.get(container)
    assert after == before and (shares(after), memory(after)) == told
    await node.remove(container)


async def test_updates_at_once_all_hold(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "100")
    await node.start_container(container)
    await asyncio.gather(
        update(node, container, cpu_shares=300), update(node, container, pids_limit=50), update(node, container, cpu_quota=30_000)
    )
    resources = (await node.get(container)).spec.resources
    assert (resources.cpu_shares, resources.pids_limit, resources.cpu_quota) == (300, 50, 30_000)
    assert file(await node.get(container), "pids/pids.max", "pids.max") == "50"
    await node.remove(container)


async def test_an_end_during_an_update_is_no_failure(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "0.05")
    await node.start_container(container)
    for value in range(200, 210):
        await update(node, container, cpu_shares=value)
    await node.wait(container)
    assert (await node.get(container)).spec.resources.cpu_shares == 209
    await node.remove(container)


async def test_fifty_streams_of_samples_at_once(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "100")
    await node.start_container(container)

    async def three() -> list[pb.StatsResponse]:
        stream = node.containers.Stats(pb.StatsRequest(container=container, stream=True))
        found = [await stream.read() for _ in range(3)]
        stream.cancel()
        return found

    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(20):
        every = await asyncio.gather(*(three() for _ in range(50)))
    # Two pauses of a second, and room for a busy machine.
    assert loop.time() - begun < 6
    for first, second, third in every:
        assert first.preread_ns == 0 and first.memory.usage > 0 and first.pids_current >= 1
        assert (second.preread_ns, third.preread_ns) == (first.read_ns, second.read_ns)
        assert third.precpu == second.cpu
    await node.remove(container)


async def test_a_stream_ends_with_its_container(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "100")
    stream = node.containers.Stats(pb.StatsRequest(container=container, stream=True))
    first = await stream.read()
    assert (first.read_ns, first.id) == (0, container)
    await node.remove(container)
    async with asyncio.timeout(5):
        while (sample := await stream.read()) is not grpc.aio.EOF:
            assert sample.read_ns == 0
    with pytest.raises(NotFound, match=f"^No such container: {container}$"):
        await call(lambda: node.containers.Update(pb.UpdateRequest(container=container)))


async def test_top_shows_whole_lines_whatever_the_terminal_of_who_started_the_engine() -> None:
    async with containers_node(COLUMNS="40") as node:
        container_id = await node.create("sh", "-c", f"sleep 1000; : {'x' * 200}")
        await node.start_container(container_id)
        answer = await node.containers.Top(pb.TopRequest(id=container_id))
        assert "x" * 200 in answer.processes[0].columns[-1]
        await node.remove(container_id)
