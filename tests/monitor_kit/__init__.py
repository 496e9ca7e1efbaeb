"""A keeper of one's own and jobs on fake runtimes, for tests of the monitor."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from skerry.containers.monitors import Job, Monitors, ensure_keeper
from skerry.containers.spool import SpoolReader

_HERE = os.path.dirname(os.path.abspath(__file__))


class Node:
    """RUN with a living keeper, and containers below it."""

    def __init__(self, run: str, mounts: str = "host") -> None:
        self.run = run
        self.monitors = Monitors(f"{run}/keeper.sock", mounts=mounts)

    def directory(self, name: str) -> str:
        path = f"{self.run}/{name}"
        os.makedirs(path, exist_ok=True)
        return path

    def job(self, name: str, *command: str, tty: bool = False, **changes: Any) -> Job:
        directory = self.directory(name)
        for left in ("go", "pid"):
            if os.path.exists(f"{directory}/{left}"):
                os.unlink(f"{directory}/{left}")
        program = [sys.executable, f"{_HERE}/fake_terminal_runtime.py"] if tty else ["/bin/sh", f"{_HERE}/fake_runtime.sh"]
        fields: dict[str, Any] = {
            "directory": directory,
            "create": [*program, directory, *command],
            "start": ["/bin/touch", f"{directory}/go"],
            "pid_file": f"{directory}/pid",
            "spool": f"{directory}/spool",
            "tty": tty,
            **changes,
        }
        return Job(**fields)


@asynccontextmanager
async def living_node() -> AsyncIterator[Node]:
    run = tempfile.mkdtemp(prefix="skm-", dir="/tmp")
    try:
        await ensure_keeper(run, mounts="host")
        yield Node(run)
    finally:
        pid = keeper_pid(run)
        if pid:
            os.kill(pid, signal.SIGTERM)
            await until(lambda: keeper_pid(run) == 0)
        while os.path.exists(run):
            # Monitors that are just leaving remove their sockets meanwhile.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(run)


def keeper_pid(run: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(f"{run}/keeper.sock")
        except OSError:
            return 0
        return int(struct.unpack("iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        await asyncio.sleep(0.01)


async def output(spool: str, *, run: int = 1, offset: int = 0, streams: tuple[int, ...] = (1, 2)) -> bytes:
    """Everything the streams have up to the end of the run."""
    parts = []
    async with SpoolReader(spool, offset) as reader:
        async with asyncio.timeout(30):
            async for batch in reader.batches(until_run=run):
                assert batch.gap == 0
                parts += [bytes(frame.payload) for frame in batch.frames() if frame.stream in streams]
    return b"".join(parts)
