"""Create, start, exit, stop, kill, pause, restart, remove: with real containers."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from integration.containers_node import Client, NodeUnderTest, containers_node, eventually, streams
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import Conflict, Failed, InvalidArgument, NotFound, NotModified
from skerry.core.ids import new_id
from skerry.core.rpc.channel import call

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[NodeUnderTest]:
    async with containers_node() as running:
        yield running


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 7", 7), ("exec false", 1)])
async def test_the_exit_code_is_the_processs(node: NodeUnderTest, command: str, code: int) -> None:
    container_id, exit_code, _ = await node.run_to_end("sh", "-c", command)
    assert exit_code == code
    await node.remove(container_id)
    assert node.leftovers(container_id) == []


@pytest.mark.parametrize(("name", "code"), [("", 137), ("KILL", 137), ("USR1", 138)])
async def test_a_signals_exit_code_is_128_and_its_number(node: NodeUnderTest, name: str, code: int) -> None:
    # The first process of a pid namespace only gets signals from within that it handles; one in the host's has no such shield.
    container_id = await node.create("sleep", "100", pid_mode="host")
    await node.start_container(container_id)
    await call(lambda: node.containers.Kill(pb.KillRequest(id=container_id, signal=name)))
    assert (await node.wait(container_id)).exit_code == code
    await node.remove(container_id)


async def test_output_of_both_streams_reaches_the_client_attached_before_the_start(node: NodeUnderTest) -> None:
    container_id, code, output = await node.run_to_end("sh", "-c", "echo out; echo err >&2; hostname; exit 3")
    assert (code, streams(output)) == (3, (f"out\n{container_id[:12]}\n".encode(), b"err\n"))
    await node.remove(container_id)


@pytest.mark.parametrize(
    ("command", "code", "text"), [("nosuchcmd", 127, "executable file not found in $PATH"), ("/etc/plain", 126, "permission denied")]
)
async def test_a_command_that_cannot_run_is_an_invalid_argument_with_its_code(
    node: NodeUnderTest, command: str, code: int, text: str
) -> None:
    container_id = await node.create(command)
    client = Client(node, container_id)
    await client.opened()
    with pytest.raises(InvalidArgument, match=f"^failed to create shim task: OCI runtime create failed: .*{re.escape(text)}.*: unknown$"):
        await node.start_container(container_id)
    assert await client.rest(5) == b""
    state = (await node.get(container_id)).state
    assert (state.status, state.exit_code, state.run) == (pb.STATUS_CREATED, code, 0) and text in state.error
    await node.remove(container_id, force=False)
    assert node.leftovers(container_id) == []


async def test_stop_signals_then_kills_and_events_are_dockers(node: NodeUnderTest) -> None:
    container_id = await node.create("sleep", "100", name="stopme", labels={"l": "v"})
    await node.start_container(container_id)
    begin = time.monotonic()
    await call(lambda: node.containers.Stop(pb.StopRequest(id="stopme", timeout_seconds=1)))
    assert 0.9 < time.monotonic() - begin < 5
    with pytest.raises(NotModified):
        await call(lambda: node.containers.Stop(pb.StopRequest(id="stopme")))
    assert (await node.get("stopme")).state.exit_code == 137
    events = [event for event in await node.events() if event.actor_id == container_id]
    assert [event.action for event in events] == ["create", "start", "kill", "kill", "die", "stop"]
    assert [event.attributes["signal"] for event in events[2:4]] == ["15", "9"]
    assert dict(events[4].attributes) == {"l": "v", "image": "busybox", "name": "stopme", "exitCode": "137"}
    await node.remove("stopme", force=False)
    assert (await node.events())[-1].action == "destroy"


async def test_waits_answer_once_the_end_is_settled_by_the_control_plane(node: NodeUnderTest) -> None:
    container_id = await node.create("sh", "-c", "exit 5", auto_remove=True)
    watch = node.containers.Watch(pb.WatchRequest())
    while not (await watch.read()).HasField("live"):
        pass
    waits = [asyncio.ensure_future(node.wait(container_id, condition)) for condition in (2, 2, 3)]
    await asyncio.sleep(0.1)
    await node.start_container(container_id)
    ended = (await watch.read()).ended
    assert (ended.id, ended.run, ended.exit_code, ended.auto_remove) == (container_id, 1, 5, True)
    await asyncio.sleep(0.2)
    assert not any(wait.done() for wait in waits)
    await call(lambda: node.containers.Settle(pb.SettleRequest(id=container_id, run=1)))
    assert [(await wait).exit_code for wait in waits[:2]] == [5, 5] and not waits[2].done()
    await node.remove(container_id, force=False)
    assert (await waits[2]).exit_code == 5
    assert (await node.wait(container_id, pb.WAIT_CONDITION_REMOVED)).exit_code == 5
    watch.cancel()


async def test_a_wait_taken_up_again_is_answered_for_a_run_it_missed(node: NodeUnderTest) -> None:
    container_id, _, _ = await node.run_to_end("sh", "-c", "exit 4")
    assert (await node.wait(container_id, pb.WAIT_CONDITION_NEXT_EXIT, after_run=0)).exit_code == 4
    await node.remove(container_id)


async def test_states_forbid_in_dockers_words(node: NodeUnderTest) -> None:
    container_id = await node.create("sleep", "100", name="words")
    with pytest.raises(Conflict, match=f"^Cannot kill container: words: Container {container_id} is not running$"):
        await call(lambda: node.containers.Kill(pb.KillRequest(id="words")))
    with pytest.raises(Conflict, match=f'^Conflict. The container name "/words" is already in use by container "{container_id}"'):
        await node.create("true", name="words")
    with pytest.raises(InvalidArgument, match=r"^Invalid container name \(!!\)"):
        await node.create("true", name="!!")
    await node.start_container(container_id)
    with pytest.raises(NotModified):
        await node.start_container(container_id, run=2)
    await node.start_container(container_id, run=1)
    with pytest.raises(Conflict, match=f"^You cannot remove a running container {container_id}. Stop the container"):
        await node.remove("words", force=False)
    with pytest.raises(Failed, match=f"^Container {container_id} is not paused$"):
        await call(lambda: node.containers.Unpause(pb.UnpauseRequest(id="words")))
    with pytest.raises(InvalidArgument, match=r"^Invalid signal: FOO$"):
        await call(lambda: node.containers.Kill(pb.KillRequest(id="words", signal="FOO")))
    with pytest.raises(NotFound, match=r"^No such container: nobody$"):
        await node.get("nobody")
    await node.remove("words")
    assert node.leftovers(container_id) == []


async def test_containers_are_found_by_prefix_unless_it_is_ambiguous(node: NodeUnderTest) -> None:
    one, two = "f00d" + new_id()[4:], "f00e" + new_id()[4:]
    for each in (one, two):
        await node.create("true", container_id=each)
    assert (await node.get("f00d")).id == one
    with pytest.raises(InvalidArgument, match=r"^Multiple IDs found with provided prefix: f00$"):
        await node.get("f00")
    for each in (one, two):
        await node.remove(each)


async def test_pause_freezes_and_a_stop_thaws(node: NodeUnderTest) -> None:
    container_id = await node.create("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done")
    await node.start_container(container_id)
    await call(lambda: node.containers.Pause(pb.PauseRequest(id=container_id)))
    assert (await node.get(container_id)).state.status == pb.STATUS_PAUSED
    with pytest.raises(Conflict, match="is already paused"):
        await call(lambda: node.containers.Pause(pb.PauseRequest(id=container_id)))
    await call(lambda: node.containers.Stop(pb.StopRequest(id=container_id, timeout_seconds=8)))
    assert (await node.get(container_id)).state.exit_code == 9
    await node.remove(container_id)


async def test_on_failure_restarts_as_often_as_asked(node: NodeUnderTest) -> None:
    container_id = await node.create(
        "sh", "-c", "echo run; exit 1", restart_policy=pb.RestartPolicy(name="on-failure", maximum_retry_count=2)
    )
    await node.start_container(container_id)
    await eventually(lambda: _exited(node, container_id))
    state = (await node.get(container_id)).state
    assert (state.run, state.restart_count, state.exit_code) == (3, 2, 1)
    actions = [event.action for event in await node.events() if event.actor_id == container_id]
    assert actions == ["create", "start", "die", "start", "die", "start", "die"]
    output = [response.data async for response in node.containers.ReadSpool(pb.ReadSpoolRequest(id=container_id, stdout=True))]
    assert b"".join(output) == b"run\n" * 3
    await node.remove(container_id, force=False)
    assert node.leftovers(container_id) == []


async def test_stop_ends_a_container_that_waits_for_its_next_run(node: NodeUnderTest) -> None:
    container_id = await node.create("false", restart_policy=pb.RestartPolicy(name="always"))
    await node.start_container(container_id)
    await eventually(lambda: _restarted(node, container_id, 3))
    await call(lambda: node.containers.Stop(pb.StopRequest(id=container_id)))
    run = (await node.get(container_id)).state.run
    await asyncio.sleep(0.5)
    state = (await node.get(container_id)).state
    assert (state.status, state.run) == (pb.STATUS_EXITED, run)
    await node.remove(container_id)


async def _exited(node: NodeUnderTest, container_id: str) -> bool:
    state = (await node.get(container_id)).state
    return state.status == pb.STATUS_EXITED and state.settled_run == state.run


async def _restarted(node: NodeUnderTest, container_id: str, count: int) -> bool:
    return (await node.get(container_id)).state.restart_count >= count


async def test_a_restart_by_hand_runs_again_in_the_same_root(node: NodeUnderTest) -> None:
    container_id = await node.create("sh", "-c", "echo more >> /kept; cat /kept; sleep 100", name="again")
    await node.start_container(container_id)
    await asyncio.sleep(0.3)
    await call(lambda: node.containers.Stop(pb.StopRequest(id="again", timeout_seconds=0, restarting=True)))
    client = Client(node, container_id)
    await client.opened()
    await node.start_container(container_id, run=2)
    assert streams(await client.piece() or b"")[0] == b"more\nmore\n"
    container = await node.get("again", size=True)
    assert container.state.run == 2 and container.size_rw == 10 and container.size_root_fs > 1_000_000
    actions = [event.action for event in await node.events() if event.actor_id == container_id]
    assert actions == ["create", "start", "kill", "kill", "die", "stop", "attach", "start", "restart"]
    await node.remove("again")


async def test_rename_keeps_the_container_and_frees_the_name(node: NodeUnderTest) -> None:
    container_id = await node.create("true", name="before")
    response = await call(lambda: node.containers.Rename(pb.RenameRequest(id="before", name="after")))
    assert (response.id, response.old_name, response.new_name) == (container_id, "before", "after")
    other = await node.create("true", name="before")
    for text, message in (("", "Neither old nor new"), ("after", "same name as its current name"), ("before", "already in use")):
        with pytest.raises((InvalidArgument, Conflict), match=message):
            await call(lambda text=text: node.containers.Rename(pb.RenameRequest(id="after", name=text)))
    for each in (container_id, other):
        await node.remove(each)


async def test_user_workdir_environment_and_mounts_are_what_was_asked(node: NodeUnderTest, tmp_path: object) -> None:
    bind = f"{tmp_path}/made"
    container_id, code, output = await node.run_to_end(
        "sh", "-c", "pwd; id -u; echo $A-$HOME; cat /v/seed /data/seed; touch /b/x; df -P /t | tail -1; test -w /v",
        user="daemon", working_dir="/made/for/me", env=["A=b"], volumes=["/data"],
        mounts=[
            pb.Mount(type="bind", source=bind, target="/b", create_source=True),
            pb.Mount(type="tmpfs", target="/t", tmpfs_options="size=1m"),
            pb.Mount(type="volume", source="vol1", target="/v"),
        ],
    )  # fmt: skip
    stdout, stderr = streams(output)
    lines = stdout.decode().splitlines()
    assert lines[:3] == ["/made/for/me", "1", "b-/"], output
    assert lines[-1].split()[1] == "1024" and b"Permission denied" in stderr and code == 1
    await node.remove(container_id)


async def test_volumes_start_with_the_images_content_and_anonymous_ones_go(node: NodeUnderTest) -> None:
    container_id, _, output = await node.run_to_end("sh", "-c", "cat /data/seed; echo mine > /data/mine", volumes=["/data"])
    (point,) = (await node.get(container_id)).mount_points
    assert streams(output)[0] == b"seed\n" and point.source.startswith(node.root)
    with open(f"{point.source}/mine", encoding="ascii") as file:
        assert file.read() == "mine\n"
    await node.remove(container_id)
    with pytest.raises(FileNotFoundError):
        open(f"{point.source}/mine", encoding="ascii").close()


async def test_a_missing_bind_source_is_refused_at_create(node: NodeUnderTest) -> None:
    with pytest.raises(InvalidArgument, match=r'^invalid mount config for type "bind": bind source path does not exist: /no/such/place$'):
        await node.create("true", mounts=[pb.Mount(type="bind", source="/no/such/place", target="/x")])


async def test_an_unknown_user_fails_the_start_and_leaves_nothing(node: NodeUnderTest) -> None:
    container_id = await node.create("true", user="nobodyhere")
    with pytest.raises(InvalidArgument, match="unable to find user nobodyhere: no matching entries in passwd file"):
        await node.start_container(container_id)
    await node.remove(container_id, force=False)
    assert node.leftovers(container_id) == []


async def test_running_out_of_memory_is_noticed(node: NodeUnderTest) -> None:
    resources = pb.Resources(memory=8 << 20, memory_swap=8 << 20)
    container_id, code, _ = await node.run_to_end("sh", "-c", "tail /dev/zero", resources=resources)
    assert code == 137 and (await node.get(container_id)).state.oom_killed
    assert [e.action for e in await node.events() if e.actor_id == container_id][-2:] == ["oom", "die"]
    await node.remove(container_id)


async def test_top_lists_the_containers_processes_only(node: NodeUnderTest) -> None:
    container_id = await node.create("sleep", "100")
    with pytest.raises(Conflict, match=f"^Container {container_id} is not running$"):
        await call(lambda: node.containers.Top(pb.TopRequest(id=container_id)))
    await node.start_container(container_id)
    table = await call(lambda: node.containers.Top(pb.TopRequest(id=container_id)))
    assert list(table.titles)[:2] == ["UID", "PID"]
    assert [row.columns[-1] for row in table.processes] == ["sleep 100"]
    await node.remove(container_id)


async def test_twenty_at_once(node: NodeUnderTest) -> None:
    async def one() -> str:
        container_id, code, output = await node.run_to_end("sh", "-c", "echo hello; exit 3")
        assert (code, streams(output)[0]) == (3, b"hello\n")
        await node.remove(container_id, force=False)
        return container_id

    begin = time.monotonic()
    ids = await asyncio.gather(*(one() for _ in range(20)))
    print(f"20 containers in {time.monotonic() - begin:.2f} s")
    assert [node.leftovers(each) for each in ids] == [[]] * 20
