"""Processes of the containers double: a handful of programs that write, read and end as real ones do."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator

from skerry.api.containers.v1 import containers_pb2 as pb


class Output:
    """What a process wrote: (stream, bytes), with readers that wait for more."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.ended = False
        self._changed = asyncio.Event()

    def write(self, stream: int, data: bytes) -> None:
        for start in range(0, len(data), 65536):
            self.frames.append((stream, data[start : start + 65536]))
        self._wake()

    def end(self) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(self, position: int, follow: bool) -> AsyncIterator[tuple[int, int, bytes]]:
        """Yields (next position, stream, data)."""
        while True:
            changed = self._changed
            while position < len(self.frames):
                stream, data = self.frames[position]
                position += 1
                yield position, stream, data
            if self.ended or not follow:
                return
            await changed.wait()


class Process:
    """A running program. kill ends it; stdin goes to `cat` and `count`."""

    def __init__(self, argv: list[str], tty: bool, output: Output) -> None:
        self.argv = argv
        self.tty = tty
        self.output = output
        self.stdin: asyncio.Queue[bytes | None] = asyncio.Queue(16)
        self._killed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exit_code: int | None = None
        self.size = (0, 0)

    def kill(self, code: int) -> None:
        if not self._killed.done():
            self._killed.set_result(code)

    async def run(self) -> int:
        work = asyncio.ensure_future(self._program())
        await asyncio.wait({work, self._killed}, return_when=asyncio.FIRST_COMPLETED)
        self.exit_code = work.result() if work.done() else self._killed.result()
        work.cancel()
        return self.exit_code

    async def _program(self) -> int:
        match self.argv:
            case ["echo", *words]:
                self.output.write(1, " ".join(words).encode() + (b"\r\n" if self.tty else b"\n"))
            case ["both"]:
                self.output.write(1, b"out\n")
                self.output.write(2, b"err\n")
            case ["exit", code]:
                return int(code)
            case ["sleep", seconds]:
                await asyncio.sleep(float(seconds))
            case ["lines", count]:
                for number in range(int(count)):
                    self.output.write(1, f"line {number}\n".encode())
                    await asyncio.sleep(0)
            case ["bytes", count]:
                for _ in range(int(count) // 65536):
                    self.output.write(1, b"x" * 65536)
                    await asyncio.sleep(0)
            case ["first", count]:
                await self.stdin.get()
                self.output.write(1, b"y" * int(count))
            case ["cat"]:
                while (data := await self.stdin.get()) is not None:
                    self.output.write(1, data)
            case ["count"]:
                total = 0
                while (data := await self.stdin.get()) is not None:
                    total += len(data)
                self.output.write(1, f"{total}\n".encode())
        return 0


def output_message(stream: int, data: bytes, tty: bool, position: int) -> pb.Output:
    framed = data if tty else struct.pack(">B3xI", stream, len(data)) + data
    return pb.Output(data=framed, next_offset=position)


class Box:
    """One container."""

    def __init__(self, record: pb.Container) -> None:
        self.record = record
        self.output = Output()
        self.process: Process | None = None
        self.exits: dict[int, asyncio.Future[int]] = {}
        self.removed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.watch_started = time.time_ns()

    def exit_of(self, run: int) -> "asyncio.Future[int]":
        return self.exits.setdefault(run, asyncio.get_running_loop().create_future())
