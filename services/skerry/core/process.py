"""Short-lived programs: started by posix_spawn (no fork of a big process), bounded in time and output."""

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager

import msgspec

from skerry.core.errors import Failed

_OUTPUT_LIMIT = 16 << 20
# What a pipe is made to hold, where the host allows it, and what is read from it at once.
_PIPE = 1 << 20


class Result(msgspec.Struct, frozen=True):
    """How a program ended. status is the exit code, or minus the signal's number."""

    status: int
    stdout: bytes
    stderr: bytes

    def last_line(self) -> str:
        """Returns the last line of stderr: what most programs end their lament with."""
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 60,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    stdout: int | None = None,
) -> Result:
    """Runs argv in a session of its own and returns what it said. stdout: a descriptor that takes its output instead.

    Raises Failed when it cannot start, does not end in time (it is killed with its group), or ends non-zero and check is set.
    """
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    in_read, in_write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((in_read, out_write if stdout is None else stdout, err_write))]
    try:
        pid = _spawn(argv, env, actions)
    except Failed:
        for fd in (out_read, err_read, in_write):
            os.close(fd)
        raise
    finally:
        for fd in (in_read, out_write, err_write):
            os.close(fd)
    return await _finish(argv, pid, stdin, timeout, check, (in_write, out_read, err_read))


def _spawn(argv: Sequence[str], env: Mapping[str, str] | None, actions: Sequence[tuple[int, int, int]]) -> int:
    """Starts a program in a session of its own; 0.1 ms, vfork-like. Raises Failed."""
    try:
        return os.posix_spawnp(
            argv[0],
            list(argv),
            os.environ if env is None else env,
            file_actions=actions,
            setsid=True,
            # Python ignores SIGPIPE and children would inherit that.
            setsigdef=[signal.SIGPIPE],
        )
    except OSError as error:
        raise Failed(f"cannot run {argv[0]}: {error.strerror}") from None


async def output(argv: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
    """Runs argv and yields its stdout as it comes, in pieces of at most 1 MiB; leaving the loop early ends the program.

    Raises Failed when it cannot start, fails (its last word), or does not end in time.
    """
    with ExitStack() as stack:
        out_read, out_write = os.pipe()
        stack.callback(os.close, out_read)
        err_read, err_write = os.pipe()
        try:
            widen(out_read)
            pid = _spawn(argv, env, [(os.POSIX_SPAWN_DUP2, out_write, 1), (os.POSIX_SPAWN_DUP2, err_write, 2)])
        except BaseException:
            os.close(err_read)
            raise
        finally:
            os.close(out_write)
            os.close(err_write)
        pidfd = os.pidfd_open(pid)
        stack.callback(os.close, pidfd)
        said = asyncio.ensure_future(_drain(err_read))
        ended = False
        try:
            async with asyncio.timeout(timeout):
                while data := await _piece(out_read):
                    yield data
                lament = Result(0, b"", await said).last_line()
                await _readable(pidfd)
                ended = True
        except TimeoutError:
            raise Failed(f"{argv[0]} did not end within {timeout:g} s") from None
        finally:
            if not ended:
                os.killpg(pid, signal.SIGKILL)
                await asyncio.shield(_readable(pidfd))
                said.cancel()
                await asyncio.wait({said})
            _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - the pidfd said that it has ended
        if status != 0:
            raise Failed(lament or f"{argv[0]} failed ({os.waitstatus_to_exitcode(status)})")


def widen(pipe: int) -> None:
    """Lets a pipe hold 1 MiB, where the host allows it: fewer switches between its two ends."""
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
    except OSError:
        pass  # above what this user may: the usual size will do


async def _piece(fd: int) -> bytes:
    """Returns what a pipe has, at most 1 MiB; b"" at the end."""
    os.set_blocking(fd, False)
    while True:
        try:
            return os.read(fd, _PIPE)
        except BlockingIOError:
            await _readable(fd)


class Child:
    """A program that runs beside its user; see running."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._status: int | None = None

    async def wait(self) -> int:
        """Waits for the end; returns the exit code, or minus the signal's number. One waiter at a time."""
        if self._status is None:
            await _readable(self._pidfd)
            _, status = os.waitpid(self.pid, 0)  # noqa: ASYNC222 - the pidfd said that it has ended
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def kill(self) -> None:
        """Kills it, with the processes that it started, unless it has ended."""
        if self._status is None:
            os.killpg(self.pid, signal.SIGKILL)


@asynccontextmanager
async def running(argv: Sequence[str], stdio: tuple[int, int, int], *, env: Mapping[str, str] | None = None) -> AsyncIterator[Child]:
    """Runs argv in a session of its own with the given descriptors as stdin, stdout, stderr; they stay the caller's to close.

    It is killed when the body ends before it. Raises Failed when it cannot start.
    """
    pid = _spawn(
        argv, env, [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)]
    )  # 0.1 ms, vfork-like; waiting is done by pidfd
    pidfd = os.pidfd_open(pid)
    child = Child(pid, pidfd)
    try:
        yield child
    finally:
        child.kill()
        try:
            await asyncio.shield(child.wait())
        finally:
            os.close(pidfd)


async def _finish(argv: Sequence[str], pid: int, stdin: bytes, timeout: float, check: bool, pipes: tuple[int, int, int]) -> Result:
    in_write, out_read, err_read = pipes
    pidfd = os.pidfd_open(pid)
    try:
        async with asyncio.timeout(timeout):
            feed = asyncio.to_thread(_feed, in_write, stdin)
            _, stdout, stderr, _ = await asyncio.gather(feed, _drain(out_read), _drain(err_read), _readable(pidfd))
    except BaseException as error:
        os.killpg(pid, signal.SIGKILL)
        await asyncio.shield(_readable(pidfd))
        os.waitpid(pid, 0)  # noqa: ASYNC222 - the pidfd said that it has ended
        if isinstance(error, TimeoutError):
            raise Failed(f"{argv[0]} did not end within {timeout:g} s") from None
        raise
    finally:
        os.close(pidfd)
    _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - the pidfd said that it has ended
    result = Result(os.waitstatus_to_exitcode(status), stdout, stderr)
    if check and result.status != 0:
        raise Failed(f"{argv[0]} failed ({result.status}): {result.last_line()}")
    return result


def _feed(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb", buffering=0) as pipe:
        view = memoryview(data)
        while view:
            try:
                view = view[pipe.write(view) :]
            except BrokenPipeError:
                return


async def _drain(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    parts: list[bytes] = []
    size = 0
    os.set_blocking(fd, False)

    def ready() -> None:
        nonlocal size
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        if not data:
            loop.remove_reader(fd)
            if not done.done():
                done.set_result(b"".join(parts))
            return
        if size < _OUTPUT_LIMIT:
            parts.append(data)
            size += len(data)

    loop.add_reader(fd, ready)
    try:
        return await done
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
