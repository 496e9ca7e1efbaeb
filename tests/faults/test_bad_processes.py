"""Processes that do not do as they should: a runtime that hangs, one that cannot be killed, one that forks without end."""

import asyncio
import glob
import os
import signal
import time
from pathlib import Path

import grpc.aio
import pytest

from integration.containers_node import containers_node, eventually, run_exec
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import Failed, SkerryError

pytestmark = pytest.mark.root


async def frozen_create(container_id: str) -> int:
    """Waits for the runtime's create of that container and stops it; returns its process id."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"create" in words and container_id.encode() in words and b"--pid-file" in b" ".join(words):
                os.kill(int(name), signal.SIGSTOP)
                return int(name)
        await asyncio.sleep(0)
    raise AssertionError("no runtime seen")


async def test_a_runtime_that_hangs_holds_up_only_its_own_container() -> None:
    async with containers_node() as node:
        held = await node.create("sh", "-c", "exit 4", name="held")
        starting = asyncio.ensure_future(node.start_container(held))
        pid = await frozen_create(held)
        _, code, _ = await node.run_to_end("sh", "-c", "exit 5")
        assert code == 5
        assert (await node.get("held")).state.status == pb.STATUS_CREATED
        assert not starting.done()
        os.kill(pid, signal.SIGCONT)
        await starting
        assert (await node.wait(held)).exit_code == 4


@pytest.mark.long
@pytest.mark.timeout(200)
async def test_a_runtime_that_hangs_for_good_is_ended_and_its_start_fails() -> None:
    async with containers_node() as node:
        held = await node.create("true")
        starting = asyncio.ensure_future(node.start_container(held))
        await frozen_create(held)
        with pytest.raises(SkerryError):
            await starting
        await asyncio.sleep(0.5)
        assert [each for each in node.leftovers(held) if each != f"{node.root}/runtime/{held}"] == []
        await node.start_container(held)
        assert (await node.wait(held)).exit_code == 0


def _freezer(container_id: str) -> tuple[str, str, str]:
    """Returns the file that freezes a container's cgroup behind the engine's back, and what to write to freeze and to thaw."""
    first = glob.glob(f"/sys/fs/cgroup/freezer/**/{container_id}/freezer.state", recursive=True)
    if first:
        return first[0], "FROZEN", "THAWED"
    return glob.glob(f"/sys/fs/cgroup/**/{container_id}/cgroup.freeze", recursive=True)[0], "1", "0"


@pytest.mark.long
async def test_a_process_that_sigkill_does_not_end_is_told_and_ends_later() -> None:
    """A frozen cgroup of version 1 holds SIGKILL back, as a device that hangs does."""
    async with containers_node() as node:
        container_id = await node.create("sleep", "1000")
        await node.start_container(container_id)
        path, frozen, thawed = _freezer(container_id)
        if "freezer.state" not in path:
            return  # version 2 kills frozen processes: there is nothing to wait for
        Path(path).write_text(frozen)
        with pytest.raises((Failed, grpc.aio.AioRpcError), match="did not end within"):
            await node.containers.Stop(pb.StopRequest(id=container_id, timeout_seconds=0))
        assert (await node.get(container_id)).state.status == pb.STATUS_RUNNING
        _, code, _ = await node.run_to_end("sh", "-c", "exit 5")
        assert code == 5
        Path(path).write_text(thawed)
        assert (await node.wait(container_id)).exit_code == 137
        await node.remove(container_id, force=False)
        assert node.leftovers(container_id) == []


async def test_a_fork_bomb_under_a_pids_limit_harms_nobody_and_ends() -> None:
    async with containers_node() as node:
        # Its first process forks nothing: a shell ends when it cannot fork.
        bomb = await node.create("sleep", "1000", resources=pb.Resources(pids_limit=40))
        other = await node.create("sleep", "1000")
        await node.start_container(other)
        await node.start_container(bomb)
        exploding = asyncio.ensure_future(run_exec(node, bomb, "sh", "-c", "f() { while :; do f & done; }; f"))
        refused = Path(glob.glob(f"/sys/fs/cgroup/**/{bomb}/pids.events", recursive=True)[0])
        await eventually(lambda: int(refused.read_text().split()[1]) > 0)
        assert (await run_exec(node, other, "echo", "x"))[0] == 0
        await node.remove(bomb)
        await asyncio.wait([exploding], timeout=20)
        assert node.leftovers(bomb) == []
        assert (await node.get(other)).state.status == pb.STATUS_RUNNING
