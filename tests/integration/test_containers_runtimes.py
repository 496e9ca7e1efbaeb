"""Two OCI runtimes beside each other: each container stays with the one that it was made for."""

import os
import signal
from functools import partial

import pytest

from integration.containers_node import containers_node, run_exec
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import call

pytestmark = [pytest.mark.root, pytest.mark.asyncio]


async def test_a_container_stays_with_its_runtime_also_when_the_default_changes() -> None:
    async with containers_node(SKERRY_CONTAINERS_RUNTIME="crun") as node:
        made = {name: await node.create("sleep", "300", runtime=name) for name in ("crun", "runc", "")}
        for name, container_id in made.items():
            container = await node.start_container(container_id)
            assert container.runtime == (name or "crun")
            assert os.path.isdir(f"{node.run}/{container.runtime}/{container_id}")
        await node.end(signal.SIGKILL)
        await node.start(SKERRY_CONTAINERS_RUNTIME="runc")
        for container_id in made.values():
            assert (await node.get(container_id)).state.status == pb.STATUS_RUNNING
            assert (await run_exec(node, container_id, "echo", "inside"))[:2] == (0, b"\1\0\0\0\0\0\0\7inside\n")
            await call(partial(node.containers.Pause, pb.PauseRequest(id=container_id)))
            await call(partial(node.containers.Unpause, pb.UnpauseRequest(id=container_id)))
            await call(partial(node.containers.Kill, pb.KillRequest(id=container_id, signal="KILL")))
            assert (await node.wait(container_id)).exit_code == 137
            await node.remove(container_id)
            assert node.leftovers(container_id) == []
        default = await node.create("true")
        assert (await node.get(default)).runtime == "runc"


async def test_names_of_runtimes() -> None:
    async with containers_node() as node:
        with pytest.raises(InvalidArgument, match=r"^unknown or invalid runtime name: nosuch$"):
            await node.create("true", runtime="nosuch")
        assert (await node.get(await node.create("true", runtime="io.containerd.runc.v2"))).runtime == "runc"
        info = await call(lambda: node.containers.Info(pb.InfoRequest()))
        assert {"crun", "runc"} <= set(info.runtimes) and info.default_runtime in info.runtimes


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_terminals_however_long_the_nodes_directory_is(runtime: str) -> None:
    """A socket's name has 107 bytes at most; that of an exec's console is longer below any directory."""
    async with containers_node(SKERRY_CONTAINERS_RUNTIME=runtime) as node:
        await node.end()
        node.root = f"{node.base}/{'long' * 10}"
        await node.start(SKERRY_CONTAINERS_RUNTIME=runtime)
        container_id, code, output = await node.run_to_end("tty", tty=True)
        assert (code, output) == (0, b"/dev/pts/0\r\n")
        await node.start_container(container_id, run=2)
        await node.remove(container_id)
        sleeper = await node.create("sleep", "300")
        await node.start_container(sleeper)
        assert (await run_exec(node, sleeper, "tty", tty=True))[:2] == (0, b"/dev/pts/0\r\n")
        folder = f"{node.run}/tty"
        assert not os.path.isdir(folder) or os.listdir(folder) == []
