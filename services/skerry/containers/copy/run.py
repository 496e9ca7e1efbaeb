"""One copy as the service sees it: the root is held mounted, the worker runs on it, bytes go through pipes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from skerry.containers.container import Container
from skerry.containers.copy import pipes
from skerry.containers.copy.job import LENGTH, Bind, Gone, Head, Job, frame, head_of, raised
from skerry.containers.rootfs import mounted_rootfs
from skerry.containers.sources import effective
from skerry.core import process
from skerry.core.errors import Failed, SkerryError
from skerry.core.ids import new_id

CHUNK = 1 << 20
_MESSAGE = 1 << 20
_TRIES = 3
# Neither site nor runpy: it starts in a third of the time.
_COMMAND = (sys.executable, "-S", "-c", "from skerry.containers.copy.worker import main; main()")


class Copy:
    """A copy under way; see copying."""

    def __init__(self, container: Container, job: Job, *, named: bool = False) -> None:
        self.head = Head()
        # FIFO that the archive may be written into by others; "": none. Gone with the worker.
        self.pipe = f"{container.directory}/copy-{new_id()[:8]}" if named else ""
        self._container = container
        self._job = job
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._error: Exception | None = None
        self._child: process.Child | None = None
        # Bytes that went through, to tell a slow client from one that is lost.
        self._moved = self._told = 0
        self._input = self._output = -1

    async def read(self) -> bytes:
        """Returns the next piece of the archive; b"" at its end."""
        data = await pipes.read(self._output, CHUNK)
        self._moved += len(data)
        return data

    async def write(self, data: bytes) -> bool:
        """Gives a piece of the archive; False when the worker takes no more: finish says why."""
        try:
            await pipes.write(self._input, data)
        except BrokenPipeError:
            return False
        self._moved += len(data)
        return True

    def moved(self, count: int) -> None:
        """Notes how many bytes others wrote into the pipe."""
        self._moved += max(0, count - self._told)
        self._told = max(self._told, count)

    async def take(self, pieces: AsyncIterator[bytes]) -> None:
        """Gives the whole archive and waits for its end, which may come before that of the pieces. Raises what went wrong."""
        feeding = asyncio.ensure_future(self._feed(pieces))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({feeding, ended}, return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                feeding.result()  # raises what the pieces' source raised
            await self.finish()
        finally:
            feeding.cancel()
            ended.cancel()
            await asyncio.wait({feeding, ended})

    async def _feed(self, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            if not await self.write(piece):
                return

    async def finish(self) -> None:
        """Ends the input, waits until the worker has ended and the root was given back. Raises what went wrong."""
        self._close_input()
        await self._ended.wait()
        if self._error is not None:
            raise self._error

    async def begin(self) -> None:
        """Runs the worker until it found the path. Raises what it said, Gone among it."""
        _ = self._container.environment.tasks.spawn(self._hold(), f"copy {self._container.id[:12]}")
        await self._begun
        try:
            (length,) = LENGTH.unpack(await self._exactly(LENGTH.size))
            self.head = head_of(await self._exactly(min(length, _MESSAGE)))
        except EOFError:
            await self.finish()
            raise Failed("the copy ended without a word") from None

    def close(self) -> None:
        """Ends it if it has not ended. What was written stays."""
        if self._child is not None:
            self._child.kill()
        self._close_input()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1

    def _close_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    async def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = await pipes.read(self._output, length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    async def _hold(self) -> None:
        try:
            async with mounted_rootfs(self._container) as rootfs:
                await self._run(self._job._replace(rootfs=rootfs, binds=_binds(self._container)))
        except (SkerryError, Gone) as error:
            self._error = error
        finally:
            self._child = None
            self._ended.set()
            if not self._begun.done():
                self._begun.set_exception(self._error or Failed("the copy could not begin"))
                self._begun.exception()  # whether somebody still waits or not

    async def _run(self, job: Job) -> None:
        input_read, self._input = pipes.named(self.pipe) if self.pipe else pipes.pipe()
        (self._output, output_write), (error_read, error_write) = (pipes.pipe() for _ in range(2))
        for fd in (self._input, self._output, error_read):
            os.set_blocking(fd, False)
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        given = [input_read, output_write, error_write]
        try:
            async with process.running(_COMMAND, (input_read, output_write, error_write), env=environ) as child:
                self._child = child
                # Only the worker's own: its end must be seen as the end of the pipes.
                while given:
                    os.close(given.pop())
                if not await self.write(frame(job)):
                    raise Failed("the copy ended before it began")
                self._begun.set_result(None)
                status = await self._end_of(child)
                words = b""
                while more := await pipes.read(error_read, _MESSAGE):
                    words += more
        finally:
            for fd in (*given, error_read):
                os.close(fd)
            if self.pipe:
                os.unlink(self.pipe)
        if status != 0:
            raise _told(status, words)

    async def _end_of(self, child: process.Child) -> int:
        # A client that takes, or gives, nothing for so long has lost its interest; the container's start waits for the end of the copy.
        silence = self._container.environment.copy_silence
        while True:
            before = self._moved
            try:
                async with asyncio.timeout(silence):
                    return await child.wait()
            except TimeoutError:
                if self._moved == before:
                    raise Failed(f"the copy was ended: nothing moved for {silence:g} seconds") from None


def _binds(container: Container) -> tuple[Bind, ...]:
    asked = [
        Bind(mount.source, mount.target, read_only=mount.read_only, recursive=not mount.non_recursive)
        for mount in effective(container)
        if mount.type != "tmpfs"
    ]
    targets = {bind.target for bind in asked}
    sandbox = container.record.sandbox_message()
    files = (("/etc/hosts", sandbox.hosts_path), ("/etc/hostname", sandbox.hostname_path), ("/etc/resolv.conf", sandbox.resolv_conf_path))
    made = [Bind(source, target, asked=False, recursive=False) for target, source in files if source and target not in targets]
    return (*asked, *made)


def _told(status: int, words: bytes) -> Exception:
    try:
        return raised(head_of(words[LENGTH.size :]))
    except ValueError:
        last = words.decode("utf-8", "replace").strip().splitlines()[-1:]
        return Failed(f"the copy failed ({status}){': ' + last[0] if last else ''}")


@asynccontextmanager
async def copying(container: Container, job: Job, *, named: bool = False) -> AsyncIterator[Copy]:
    """Runs job (whose rootfs is filled in here) on a container; yields when the worker found the path. Left early, it is ended.

    named: its input is a FIFO, `Copy.pipe`. Raises NotFound, InvalidArgument, Conflict, Failed.
    """
    for attempt in range(1, _TRIES + 1):
        copy = Copy(container, job, named=named)
        try:
            try:
                await copy.begin()
            except Gone:
                # It ended just now: the next look finds it stopped.
                if attempt == _TRIES:
                    raise Failed(f"container {container.id} changes too fast to be copied from") from None
                continue
            yield copy
            return
        finally:
            copy.close()
