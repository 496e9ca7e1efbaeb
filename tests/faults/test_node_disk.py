"""A full disk, no inodes, no descriptors: what was asked for fails with a clear error, what runs goes on, nothing is corrupt afterwards."""

import asyncio
import errno
import os
import resource
import subprocess
from collections.abc import Callable

import grpc.aio
import pytest

from integration.containers_node import Client, NodeUnderTest, containers_node, eventually, run_exec, streams
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import Failed, SkerryError

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def small_disk(megabytes: int, inodes: int) -> Callable[[str], None]:
    """Returns what mounts a file system of that size at a node's root."""

    def prepare(root: str) -> None:
        image = f"{root}.img"
        os.makedirs(root)
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), "-O", "^has_journal", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, root], check=True)

    return prepare


class Filler:
    """Takes all there is of a file system, and gives it back."""

    def __init__(self, root: str) -> None:
        self._directory = f"{root}/filler"
        os.makedirs(self._directory, exist_ok=True)

    def take_blocks(self) -> None:
        with open(f"{self._directory}/blocks", "ab") as file:
            piece = 4 << 20
            while piece >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    piece //= 2

    def take_inodes(self) -> None:
        number = 0
        while True:
            try:
                os.close(os.open(f"{self._directory}/i{number}", os.O_CREAT | os.O_WRONLY))
            except OSError as error:
                assert error.errno == errno.ENOSPC
                return
            number += 1

    def give_back(self) -> None:
        for name in os.listdir(self._directory):
            os.unlink(f"{self._directory}/{name}")


@pytest.mark.parametrize("what", ["blocks", pytest.param("inodes", marks=pytest.mark.long)])
async def test_a_full_disk_refuses_create_start_and_exec_clearly_and_all_work_again_with_space(what: str) -> None:
    async with containers_node(small_disk(64, 600)) as node:
        running = await node.create("sleep", "1000")
        await node.start_container(running)
        created = await node.create("sh", "-c", "exit 3")
        filler = Filler(node.root)
        take = filler.take_blocks if what == "blocks" else filler.take_inodes
        take()
        for ask in (lambda: node.create("true"), lambda: node.start_container(created), lambda: run_exec(node, running, "echo", "x")):
            try:
                answer = await ask()
            except (SkerryError, grpc.aio.AioRpcError) as error:
                assert "no space left" in str(error).lower() or "disk is full" in str(error).lower(), error
            else:
                # An exec's refusal is its output, as in Docker.
                assert isinstance(answer, tuple) and answer[0] == 126 and b"no space left" in answer[1].lower(), answer
            take()
        assert (await node.get(running)).state.status == pb.STATUS_RUNNING
        assert (await node.get(created)).state.status == pb.STATUS_CREATED
        filler.give_back()
        await node.start_container(created)
        assert (await node.wait(created)).exit_code == 3
        assert (await run_exec(node, running, "echo", "x"))[0] == 0
        fresh, code, output = await node.run_to_end("echo", "fresh")
        assert (code, streams(output)[0]) == (0, b"fresh\n")
        await node.end()
        await node.start()
        assert {each.id for each in [await node.get(one) for one in (running, created, fresh)]} == {running, created, fresh}


async def test_an_end_on_a_full_disk_is_told_and_recorded_when_there_is_space() -> None:
    memory = pb.Mount(type="tmpfs", target="/mem")
    async with containers_node(small_disk(64, 600)) as node:
        container_id = await node.create("sh", "-c", "while [ ! -e /mem/stop ]; do sleep 0.05; done; exit 5", mounts=[memory])
        await node.start_container(container_id)
        pid = (await node.get(container_id)).state.pid
        filler = Filler(node.root)
        filler.take_blocks()
        filler.take_inodes()
        with open(f"/proc/{pid}/root/mem/stop", "w"):
            pass
        assert (await node.wait(container_id)).exit_code == 5
        filler.give_back()
        await asyncio.sleep(1)
        await node.end()
        await node.start()
        state = (await node.get(container_id)).state
        assert (state.status, state.exit_code) == (pb.STATUS_EXITED, 5)
        await node.remove(container_id, force=False)
        assert node.leftovers(container_id) == []


async def test_output_waits_for_space_and_is_whole() -> None:
    async with containers_node(small_disk(32, 600)) as node:
        container_id = await node.create("sh", "-c", "seq 1 1000000; exit 4")
        client = Client(node, container_id)
        await client.opened()
        filler = Filler(node.root)
        filler.take_blocks()
        os.truncate(f"{node.root}/filler/blocks", os.path.getsize(f"{node.root}/filler/blocks") - (2 << 20))
        await node.start_container(container_id)
        # The client reads nothing: the spool grows until the disk is full.
        await eventually(lambda: os.statvfs(node.root).f_bavail < 32)
        await asyncio.sleep(0.3)
        assert (await node.get(container_id)).state.status == pb.STATUS_RUNNING
        filler.give_back()
        output = streams(await client.rest())[0]
        assert output == b"".join(b"%d\n" % n for n in range(1, 1000001))
        assert (await node.wait(container_id)).exit_code == 4


async def test_a_service_without_descriptors_refuses_and_serves_again() -> None:
    async with containers_node() as node:
        running = await node.create("sleep", "1000")
        await node.start_container(running)
        assert node.process is not None
        pid = node.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 1, hard))
        refused = 0
        for _ in range(4):
            try:
                await node.run_to_end("true")
            except (SkerryError, grpc.aio.AioRpcError):
                refused += 1
        assert refused == 4
        assert (await node.get(running)).state.status == pb.STATUS_RUNNING
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        await until_served(node)
        assert (await run_exec(node, running, "echo", "x"))[0] == 0


async def until_served(node: NodeUnderTest) -> None:
    async def served() -> bool:
        try:
            return (await node.run_to_end("true"))[1] == 0
        except Failed:
            return False

    await eventually(served)
