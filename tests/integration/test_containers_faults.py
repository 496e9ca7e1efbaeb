"""What a failure, or a kill of the service, at any moment leaves: nothing but what was there before, and no lost byte or exit code."""

import asyncio
import os
import signal

import grpc.aio
import pytest

from integration.containers_node import Client, NodeUnderTest, containers_node, eventually, run_exec, streams
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1 import execs_pb2
from skerry.containers import launch
from skerry.containers import node as node_module
from skerry.core import failpoints
from skerry.core.errors import Failed, NotFound
from skerry.core.ids import new_id
from skerry.core.rpc.channel import call

pytestmark = pytest.mark.root

# Importing them declares theirs.
assert launch and node_module
POINTS = sorted(failpoints.declared)
CREATE = [name for name in POINTS if name.startswith("containers.create.")]
START = [name for name in POINTS if name.startswith("containers.start.")]
REMOVE = [name for name in POINTS if name.startswith("containers.remove.")]


def _without_directory(node: NodeUnderTest, container_id: str) -> list[str]:
    """The record's own directory stays when a start fails."""
    return [each for each in node.leftovers(container_id) if each != f"{node.root}/runtime/{container_id}"]


@pytest.mark.parametrize("point", CREATE)
async def test_a_create_that_fails_leaves_nothing_and_can_be_repeated(point: str) -> None:
    async with containers_node(SKERRY_FAILPOINTS=f"{point}=fail:1") as node:
        container_id = new_id()
        with pytest.raises(Failed, match=point):
            await node.create("true", name="same", container_id=container_id)
        assert node.leftovers(container_id) == []
        with pytest.raises(NotFound):
            await node.get(container_id)
        assert await node.create("true", name="same", container_id=container_id) == container_id
        await node.start_container(container_id)
        assert (await node.wait(container_id)).exit_code == 0


@pytest.mark.parametrize("point", START)
async def test_a_start_that_fails_leaves_nothing_and_can_be_repeated(point: str) -> None:
    async with containers_node(SKERRY_FAILPOINTS=f"{point}=fail:1") as node:
        container_id = await node.create("sh", "-c", "exit 3")
        with pytest.raises(Failed, match=point):
            await node.start_container(container_id)
        assert _without_directory(node, container_id) == []
        assert point in (await node.get(container_id)).state.error
        await node.start_container(container_id)
        assert (await node.wait(container_id)).exit_code == 3


@pytest.mark.parametrize("point", REMOVE)
async def test_a_removal_that_fails_can_be_repeated(point: str) -> None:
    async with containers_node(SKERRY_FAILPOINTS=f"{point}=fail:1") as node:
        container_id, _, _ = await node.run_to_end("true")
        with pytest.raises(Failed, match=point):
            await node.remove(container_id)
        assert (await node.get(container_id)).state.status == pb.STATUS_DEAD
        await node.remove(container_id)
        assert node.leftovers(container_id) == []


@pytest.mark.parametrize("point", CREATE + START)
async def test_the_service_killed_within_create_or_start_cleans_up_when_it_comes_back(point: str) -> None:
    async with containers_node(SKERRY_FAILPOINTS=f"{point}=kill") as node:
        container_id = new_id()
        try:
            await node.create("sh", "-c", "exit 3", container_id=container_id)
            await node.start_container(container_id)
        except Exception as error:
            assert "UNAVAILABLE" in str(error) or "closed" in str(error) or type(error).__name__ == "Unavailable", error
        assert await node.end() == -signal.SIGKILL
        await node.start()
        assert _without_directory(node, container_id) == []
        # The caller repeats what it got no answer for.
        await node.create("sh", "-c", "exit 3", container_id=container_id)
        await node.start_container(container_id)
        assert (await node.wait(container_id)).exit_code == 3
        await node.remove(container_id, force=False)
        assert node.leftovers(container_id) == []


async def test_no_line_is_lost_when_the_service_is_killed_while_a_container_writes() -> None:
    async with containers_node() as node:
        container_id = await node.create(
            "sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; [ $((i%10)) = 0 ] && sleep 0.01; done; exit 9"
        )
        client = Client(node, container_id)
        await client.opened()
        await node.start_container(container_id)
        seen = [await client.piece() or b"" for _ in range(3)]
        pid = (await node.get(container_id)).state.pid
        for _ in range(3):
            await node.end(signal.SIGKILL)
            os.kill(pid, 0)
            await node.start()
            client = Client(node, container_id, offset=client.offset)
            await client.opened()
            seen += [await client.piece() or b"" for _ in range(3)]
            state = (await node.get(container_id)).state
            assert (state.status, state.pid, state.run) == (pb.STATUS_RUNNING, pid, 1)
        seen.append(await client.rest())
        wanted = b"".join(b"%d\n" % number for number in range(1, 3001))
        assert client.gap == 0 and streams(b"".join(seen))[0] == wanted
        spool = [response.data async for response in node.containers.ReadSpool(pb.ReadSpoolRequest(id=container_id, stdout=True))]
        assert b"".join(spool) == wanted
        assert (await node.wait(container_id)).exit_code == 9
        await node.remove(container_id, force=False)
        assert node.leftovers(container_id) == []


async def test_an_exit_while_the_service_was_away_is_not_missed() -> None:
    async with containers_node() as node:
        container_id = await node.create("sh", "-c", "sleep 0.5; echo last; exit 12")
        stays = await node.create("sleep", "1000")
        for each in (container_id, stays):
            await node.start_container(each)
        await node.end(signal.SIGKILL)
        await asyncio.sleep(1)
        await node.start()
        assert (await node.wait(container_id, pb.WAIT_CONDITION_NEXT_EXIT, after_run=0)).exit_code == 12
        assert [event.action for event in await node.events() if event.actor_id == container_id] == ["create", "start", "die"]
        assert (await node.get(stays)).state.status == pb.STATUS_RUNNING
        await node.remove(container_id, force=False)
        await node.remove(stays)
        assert node.leftovers(container_id) + node.leftovers(stays) == []


async def test_a_restart_policy_goes_on_after_the_service_was_away() -> None:
    async with containers_node() as node:
        container_id = await node.create("sh", "-c", "sleep 0.3; exit 1", restart_policy=pb.RestartPolicy(name="always"))
        await node.start_container(container_id)
        await node.end(signal.SIGKILL)
        await asyncio.sleep(0.6)
        await node.start()

        async def again() -> bool:
            return (await node.get(container_id)).state.run >= 3

        await eventually(again)
        await node.remove(container_id)
        assert node.leftovers(container_id) == []


async def test_an_exec_survives_the_service() -> None:
    async with containers_node() as node:
        container_id = await node.create("sleep", "1000", name="exe")
        await node.start_container(container_id)
        spec = execs_pb2.ExecSpec(cmd=["sh", "-c", "echo one; sleep 1; echo two; exit 5"], attach_stdout=True, attach_stderr=True)
        made = (await call(lambda: node.execs.CreateExec(execs_pb2.CreateExecRequest(container="exe", spec=spec)))).exec
        stream = node.execs.StartExec()
        await stream.write(execs_pb2.StartExecRequest(open=execs_pb2.ExecOpen(id=made.id)))
        assert (await stream.read()).HasField("opened")
        first = (await stream.read()).output
        await node.end(signal.SIGKILL)
        await node.start()
        stream = node.execs.StartExec()
        await stream.write(execs_pb2.StartExecRequest(open=execs_pb2.ExecOpen(id=made.id, offset=first.next_offset)))
        rest = b"".join([response.output.data async for response in stream])
        assert streams(first.data + rest)[0] == b"one\ntwo\n"
        assert (await call(lambda: node.execs.GetExec(execs_pb2.GetExecRequest(id=made.id)))).exec.exit_code == 5
        assert (await run_exec(node, "exe", "sh", "-c", "exit 2"))[0] == 2
        await node.remove(container_id)
        assert node.leftovers(container_id) == []


async def test_streams_and_waits_end_when_the_service_stops_and_the_container_goes_on() -> None:
    async with containers_node() as node:
        container_id = await node.create("sleep", "1000")
        await node.start_container(container_id)
        client = Client(node, container_id)
        await client.opened()
        wait = node.containers.Wait(pb.WaitRequest(id=container_id))
        assert (await wait.read()).registered.run == 1
        ended = asyncio.gather(client.rest(), _drained(wait))
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(ended, 10)
        assert await asyncio.wait_for(node.process.wait(), 10) == 0
        await node.start()
        assert (await node.get(container_id)).state.status == pb.STATUS_RUNNING
        await node.remove(container_id)


async def _drained(stream: "grpc.aio.UnaryStreamCall[pb.WaitRequest, pb.WaitResponse]") -> None:
    assert await stream.read() is grpc.aio.EOF


async def test_a_container_outlives_its_monitor_and_its_exit_is_told() -> None:
    async with containers_node() as node:
        container_id = await node.create("sh", "-c", "sleep 1; exit 8")
        await node.start_container(container_id)
        os.kill(_monitor(node), signal.SIGKILL)
        exited = await node.wait(container_id)
        assert exited.exit_code == 8
        state = (await node.get(container_id)).state
        assert state.finished_ns - state.started_ns > 900_000_000
        await node.remove(container_id, force=False)
        assert node.leftovers(container_id) == []


def _monitor(node: NodeUnderTest) -> int:
    """Returns the only monitor: a fork of the keeper."""
    keeper = node.keeper()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{name}/cmdline", "rb") as file:
                forked = b"monitor.keeper" in file.read()
        except OSError:
            continue
        if parent == keeper and forked:
            return int(name)
    raise AssertionError("no monitor found")


@pytest.mark.parametrize("point", ["containers.start.mounted", "containers.start.started"])
async def test_the_service_killed_within_a_restart_by_policy_goes_on_with_it(point: str) -> None:
    async with containers_node(SKERRY_FAILPOINTS=f"{point}=kill:2") as node:
        policy = pb.RestartPolicy(name="on-failure", maximum_retry_count=1)
        container_id = await node.create("sh", "-c", "echo run; exit 3", restart_policy=policy)
        await node.start_container(container_id)
        assert node.process is not None
        await node.process.wait()
        await node.start()

        async def over() -> bool:
            state = (await node.get(container_id)).state
            return (state.status, state.run, state.exit_code) == (pb.STATUS_EXITED, 2, 3)

        await eventually(over)
        spool = [response.data async for response in node.containers.ReadSpool(pb.ReadSpoolRequest(id=container_id, stdout=True))]
        # What had begun to run when the service died, unrecorded, was a run too.
        assert b"".join(spool).count(b"run\n") == 2 + (point == "containers.start.started")
        await node.remove(container_id)
        assert node.leftovers(container_id) == []
