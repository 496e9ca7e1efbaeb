"""The runtime service is replaced by another version while containers run."""

import asyncio
import os
import sqlite3
import sys

import msgspec
import pytest

from integration.containers_node import SERVICES, containers_node, run_exec
from skerry.api.containers.v1 import containers_pb2 as pb

pytestmark = pytest.mark.root

# What the first version's records had; everything else has defaults.
_FIRST = ("id", "name", "created_ns", "state", "spec", "log", "layers", "image_id", "image_name", "sandbox", "boot_id")


def make_older(path: str) -> None:
    """Rewrites the store into the first version's form: its schema, and records without any later field."""
    with sqlite3.connect(path) as database:
        for identity, document in database.execute("SELECT id, document FROM container").fetchall():
            fields = {name: value for name, value in msgspec.msgpack.decode(document).items() if name in _FIRST}
            database.execute("UPDATE container SET document = ? WHERE id = ?", (msgspec.msgpack.encode(fields), identity))
        kept = ("container", "event")
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table not in kept and not table.startswith("sqlite_"):
                database.execute(f"DROP TABLE {table}")
        database.execute("PRAGMA user_version = 1")
    database.close()


async def test_records_of_the_first_version_are_read_and_what_runs_goes_on() -> None:
    async with containers_node() as node:
        running = await node.create("sh", "-c", "trap 'exit 6' TERM; while :; do sleep 0.05; done", name="running")
        await node.start_container(running)
        pid = (await node.get(running)).state.pid
        ended, _, _ = await node.run_to_end("sh", "-c", "exit 2", name="ended")
        await node.end()
        make_older(f"{node.root}/runtime/containers.db")
        await node.start()
        state = (await node.get("running")).state
        assert (state.status, state.pid) == (pb.STATUS_RUNNING, pid)
        assert (await node.get("ended")).state.exit_code == 2
        assert (await run_exec(node, running, "echo", "x"))[0] == 0
        await node.containers.Stop(pb.StopRequest(id=running, timeout_seconds=10))
        assert (await node.get(running)).state.exit_code == 6
        for each in (running, ended):
            await node.remove(each)
            assert node.leftovers(each) == []


async def test_a_store_of_a_newer_version_is_refused_untouched_and_containers_go_on() -> None:
    async with containers_node() as node:
        running = await node.create("sleep", "1000")
        await node.start_container(running)
        pid = (await node.get(running)).state.pid
        await node.end()
        path = f"{node.root}/runtime/containers.db"

        def version(number: int) -> None:
            database = sqlite3.connect(path)
            database.execute(f"PRAGMA user_version = {number}")
            database.close()

        database = sqlite3.connect(path)
        (present,) = database.execute("PRAGMA user_version").fetchone()
        database.close()
        version(present + 1)
        with open(path, "rb") as file:
            before = file.read()
        environ = {**os.environ, "PYTHONPATH": SERVICES, "SKERRY_ROOT": node.root, "SKERRY_RUN": node.run}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "skerry.containers", env=environ, stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 1
        assert b"was written by a newer Skerry" in said and len(said.splitlines()) == 1, said
        with open(path, "rb") as file:
            assert file.read() == before
        os.kill(pid, 0)
        version(present)
        await node.start()
        assert (await node.get(running)).state.pid == pid
