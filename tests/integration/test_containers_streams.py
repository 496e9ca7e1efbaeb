"""Attach and exec with real containers: every byte, both directions, terminals, half close."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from integration.containers_node import Client, NodeUnderTest, containers_node, eventually, run_exec, streams
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1 import execs_pb2
from skerry.core.errors import Conflict, InvalidArgument, NotFound
from skerry.core.rpc.channel import call

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[NodeUnderTest]:
    async with containers_node() as running:
        yield running


async def _sleeping(node: NodeUnderTest, name: str, **spec: object) -> str:
    container_id = await node.create("sleep", "1000", name=name, **spec)
    await node.start_container(container_id)
    return container_id


async def test_a_megabyte_through_cat_with_half_close(node: NodeUnderTest) -> None:
    data = os.urandom(1 << 20)
    container_id = await node.create("cat", open_stdin=True, stdin_once=True)
    client = Client(node, container_id, stdin=True)
    await client.opened()
    await node.start_container(container_id)

    async def feed() -> None:
        await client.send(data)
        await client.close_stdin()

    output, _ = await asyncio.gather(client.rest(), feed())
    assert hashlib.sha256(streams(output)[0]).digest() == hashlib.sha256(data).digest()
    assert (await node.wait(container_id)).exit_code == 0
    await node.remove(container_id)


async def test_input_sent_before_the_start_arrives(node: NodeUnderTest) -> None:
    container_id = await node.create("cat", open_stdin=True, stdin_once=True)
    client = Client(node, container_id, stdin=True)
    await client.opened()
    await client.send(b"early\n")
    await client.close_stdin()
    await asyncio.sleep(0.1)
    await node.start_container(container_id)
    assert streams(await client.rest())[0] == b"early\n"
    await node.remove(container_id)


async def test_detaching_and_second_clients_leave_stdin_open(node: NodeUnderTest) -> None:
    container_id = await node.create("cat", open_stdin=True, stdin_once=False)
    first = Client(node, container_id, stdin=True)
    await first.opened()
    await node.start_container(container_id)
    await first.send(b"one\n")
    assert streams(await first.piece() or b"")[0] == b"one\n"
    await first.close_stdin()
    first.call.cancel()
    second = Client(node, container_id, stdin=True)
    await second.opened()
    await second.send(b"two\n")
    assert streams(await second.piece() or b"")[0] == b"two\n"
    await call(lambda: node.containers.Kill(pb.KillRequest(id=container_id)))
    assert await second.rest() == b""
    await node.remove(container_id)


async def test_a_client_that_joins_later_gets_what_comes_then(node: NodeUnderTest) -> None:
    container_id = await node.create("sh", "-c", "echo old; read x; echo new", open_stdin=True)
    await node.start_container(container_id)
    await eventually(lambda: _spool_end(node, container_id))
    later = Client(node, container_id, stdin=True)
    await later.opened()
    replay = Client(node, container_id, replay=True)
    await replay.opened()
    await later.send(b"go\n")
    assert streams(await later.rest())[0] == b"new\n"
    assert streams(await replay.rest())[0] == b"old\nnew\n"
    await node.remove(container_id)


async def _spool_end(node: NodeUnderTest, container_id: str) -> int:
    return (await node.containers.GetSpool(pb.GetSpoolRequest(id=container_id))).end_offset


async def test_a_stream_is_taken_up_again_at_its_offset(node: NodeUnderTest) -> None:
    container_id = await node.create("sh", "-c", "echo one; read x; echo two", open_stdin=True)
    client = Client(node, container_id, stdin=True)
    await client.opened()
    await node.start_container(container_id)
    assert streams(await client.piece() or b"")[0] == b"one\n"
    client.call.cancel()
    again = Client(node, container_id, stdin=True, offset=client.offset)
    await again.opened()
    await again.send(b"x\n")
    assert streams(await again.rest())[0] == b"two\n"
    after_the_end = Client(node, container_id, offset=client.offset, run=1)
    await after_the_end.opened()
    assert streams(await after_the_end.rest())[0] == b"two\n"
    # Everything was seen, only the end was not: it is told at once, no next run is waited for.
    behind = Client(node, container_id, offset=after_the_end.offset, run=1)
    await behind.opened()
    assert await asyncio.wait_for(behind.rest(), 5) == b""
    await node.remove(container_id)


async def test_everything_a_slow_client_was_attached_for_arrives(node: NodeUnderTest) -> None:
    container_id = await node.create("sh", "-c", "seq 1 300000")
    client = Client(node, container_id)
    await client.opened()
    await node.start_container(container_id)
    await node.wait(container_id)
    stdout = streams(await client.rest())[0]
    assert client.gap == 0 and stdout == b"".join(b"%d\n" % number for number in range(1, 300001))
    await node.remove(container_id)


async def test_a_terminal_echoes_resizes_and_has_one_stream(node: NodeUnderTest) -> None:
    container_id = await node.create("sh", tty=True, open_stdin=True, stdin_once=True, console_height=33, console_width=99)
    client = Client(node, container_id, stdin=True)
    assert (await client.opened()).tty
    await node.start_container(container_id)
    await client.send(b"stty size; echo $TERM\n")
    seen = await _until(client, b"xterm\r\n")
    assert b"33 99\r\n" in seen
    await call(lambda: node.containers.Resize(pb.ResizeRequest(id=container_id, height=40, width=100)))
    await client.send(b"stty size\n")
    await _until(client, b"40 100\r\n")
    await client.send(b"exit 6\n")
    await client.rest()
    assert (await node.wait(container_id)).exit_code == 6
    with pytest.raises(Conflict, match=f"^Container {container_id} is not running$"):
        await call(lambda: node.containers.Resize(pb.ResizeRequest(id=container_id, height=40, width=100)))
    await node.remove(container_id)


async def _until(client: Client, text: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(10):
        while text not in seen:
            seen += await client.piece() or b""
    return seen


async def test_attaching_to_a_paused_container_is_refused(node: NodeUnderTest) -> None:
    container_id = await _sleeping(node, "frozen")
    await call(lambda: node.containers.Pause(pb.PauseRequest(id="frozen")))
    with pytest.raises(Conflict, match=r"^container frozen is paused, unpause the container before attach$"):
        await call(Client(node, "frozen").opened)
    with pytest.raises(Conflict, match=r"^Container frozen is paused, unpause the container before exec$"):
        await run_exec(node, "frozen", "true")
    await node.remove(container_id)


async def test_exec_gives_output_code_and_events(node: NodeUnderTest) -> None:
    container_id = await _sleeping(node, "ex")
    code, output, exec_id = await run_exec(node, "ex", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (code, streams(output)) == (7, (b"out\n", b"err\n"))
    events = [event for event in await node.events() if event.attributes["execID"] == exec_id]
    command = "sh -c echo out; echo err >&2; exit 7"
    assert [event.action for event in events] == [f"exec_create: {command}", f"exec_start: {command}", "exec_die"]
    assert events[-1].attributes["exitCode"] == "7"
    assert list((await node.get("ex")).exec_ids) == []  # as in Docker, only those that run or are to be started
    await node.remove(container_id)
    assert node.leftovers(container_id) == []


async def test_exec_takes_user_directory_environment_and_stdin(node: NodeUnderTest) -> None:
    container_id = await _sleeping(node, "exu", env=["A=container"])
    _, output, _ = await run_exec(
        node, "exu", "sh", "-c", "id -u; pwd; echo $A $B; cat", stdin=b"in\n", user="daemon", working_dir="/tmp", env=["B=exec"]
    )
    assert streams(output)[0] == b"1\n/tmp\ncontainer exec\nin\n"
    data = os.urandom(1 << 20)
    _, output, _ = await run_exec(node, "exu", "cat", stdin=data)
    assert streams(output)[0] == data
    await node.remove(container_id)


@pytest.mark.parametrize(("command", "code"), [("nosuchcmd", 127), ("/etc/plain", 126)])
async def test_an_exec_that_cannot_run_says_so_in_its_output(node: NodeUnderTest, command: str, code: int) -> None:
    container_id = await _sleeping(node, "")
    got, output, _ = await run_exec(node, container_id, command)
    assert got == code and streams(output)[0].startswith(b"OCI runtime exec failed: exec failed: ") and output.endswith(b"\r\n")
    await node.remove(container_id)


async def test_an_execs_terminal(node: NodeUnderTest) -> None:
    container_id = await _sleeping(node, "")
    code, output, _ = await run_exec(node, container_id, "sh", "-c", "stty size; test -t 0", tty=True, console_height=20, console_width=70)
    assert (code, output) == (0, b"20 70\r\n")
    await node.remove(container_id)


async def test_a_detached_exec_runs_on_alone(node: NodeUnderTest) -> None:
    container_id = await _sleeping(node, "")
    spec = execs_pb2.ExecSpec(cmd=["sh", "-c", "sleep 0.3; exit 4"])
    made = (await call(lambda: node.execs.CreateExec(execs_pb2.CreateExecRequest(container=container_id, spec=spec)))).exec
    stream = node.execs.StartExec(iter([execs_pb2.StartExecRequest(open=execs_pb2.ExecOpen(id=made.id, detach=True))]))
    assert len([response async for response in stream]) == 1
    got = (await node.execs.GetExec(execs_pb2.GetExecRequest(id=made.id))).exec
    assert got.running and got.pid > 0 and not got.HasField("exit_code")

    async def ended() -> bool:
        return (await node.execs.GetExec(execs_pb2.GetExecRequest(id=made.id))).exec.HasField("exit_code")

    await eventually(ended)
    with pytest.raises(Conflict, match=f"^Error: Exec command {made.id} has already run$"):
        stream = node.execs.StartExec(iter([execs_pb2.StartExecRequest(open=execs_pb2.ExecOpen(id=made.id))]))
        await call(stream.read)
    await node.remove(container_id)


async def test_execs_end_with_their_container_and_are_refused_without_one(node: NodeUnderTest) -> None:
    container_id = await _sleeping(node, "exend")
    running = asyncio.ensure_future(run_exec(node, "exend", "sleep", "1000"))
    await asyncio.sleep(0.3)
    await call(lambda: node.containers.Stop(pb.StopRequest(id="exend", timeout_seconds=0)))
    code, _, _ = await running
    assert code == 137
    with pytest.raises(Conflict, match=f"^Container {container_id} is not running$"):
        await run_exec(node, "exend", "true")
    with pytest.raises(NotFound, match=r"^No such exec instance: x$"):
        await call(lambda: node.execs.GetExec(execs_pb2.GetExecRequest(id="x")))
    with pytest.raises(InvalidArgument, match=r"^No exec command specified$"):
        await node.start_container(container_id, run=2)
        await run_exec(node, "exend")
    await node.remove(container_id)


async def test_read_spool_reads_like_logs(node: NodeUnderTest) -> None:
    container_id, _, _ = await node.run_to_end("sh", "-c", "echo a; echo b; echo e >&2; echo c")

    async def read(**request: object) -> bytes:
        stream = node.containers.ReadSpool(pb.ReadSpoolRequest(id=container_id, **request))
        return b"".join([response.data async for response in stream])

    assert await read(stdout=True) == b"a\nb\nc\n"
    assert await read(stdout=True, tail=2) == b"b\nc\n"
    assert await read(stdout=True, tail=0) == b""
    assert await read(stdout=True, follow=True) == b"a\nb\nc\n"
    assert streams(await read(stdout=True, stderr=True, multiplexed=True)) == (b"a\nb\nc\n", b"e\n")
    first = (await read(stdout=True, timestamps=True)).split(b"\n")[0]
    assert len(first) == 32 and first.endswith(b"Z a")
    await node.remove(container_id)


async def test_containers_and_execs_are_always_filtered(node: NodeUnderTest) -> None:
    # The second container gets the filter that was compiled for the first.
    for _ in range(2):
        container_id, _, output = await node.run_to_end("grep", "Seccomp:", "/proc/self/status")
        assert streams(output)[0] == b"Seccomp:\t2\n"
        await node.remove(container_id)
    container_id = await _sleeping(node, "")
    _, output, _ = await run_exec(node, container_id, "grep", "Seccomp:", "/proc/self/status")
    assert streams(output)[0] == b"Seccomp:\t2\n"
    await node.remove(container_id)
