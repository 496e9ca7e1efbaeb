"""Starting monitors and talking to them; see docs/spool.md for the protocol.

A monitor outlives this service: `adopt` finds the ones that an earlier service started.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from skerry.containers.monitor import protocol
from skerry.core import process
from skerry.core.errors import Conflict, Failed, InvalidArgument, Unavailable
from skerry.core.files import write_atomic

# What a monitor or keeper may take to answer; the runtime's own time is limited by the monitor.
_ANSWER_SECONDS = 10.0
_RUNTIME_SECONDS = protocol.RUNTIME_SECONDS + 10.0
_CONNECT_SECONDS = 2.0


class Job(msgspec.Struct, kw_only=True):
    """What a monitor is to run: content of D/monitor.json."""

    # D: the monitor's directory, which must exist. It holds monitor.json, monitor.sock, exit, console.sock.
    directory: str
    # argv, run with the container's stdio; must write pid_file before it ends with 0.
    create: list[str]
    # argv; empty: create did all (exec).
    start: list[str] = []
    pid_file: str
    # create was given --console-socket D/console.sock.
    tty: bool = False
    # Gives the process a pipe as stdin; otherwise /dev/null.
    stdin: bool = False
    # The spool's directory; made when missing.
    spool: str
    run: int = 1
    # Bytes the spool may hold; the file `quota` in it overrides this.
    quota: int = 64 << 20
    # At the quota: True stops the container's writes, False drops and counts.
    blocking: bool = True
    segment: int = 8 << 20
    # The terminal's first size; 0: not set.
    rows: int = 0
    columns: int = 0
    # Ends the run with an END frame.
    end_frame: bool = True
    # After the exit: how long output pipes that others still hold are waited for.
    drain_seconds: float = 2.0


class Exit(msgspec.Struct, frozen=True):
    """The end of a run. code is 128 + the signal's number when a signal ended it."""

    code: int
    time_ns: int
    run: int


class CreateFailed(Exception):
    """The runtime refused to create or start; text is what it said, status its exit code (128 + signal's number)."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class _State(msgspec.Struct):
    """What a monitor tells at each change."""

    phase: str = protocol.NEW
    pid: int = 0
    started: bool = False
    waiting: bool = False
    error: str | None = None
    status: int = 0
    exit: Exit | None = None


_state_decoder = msgspec.json.Decoder(_State)
_exit_decoder = msgspec.json.Decoder(Exit)


class Monitor:
    """A connection to the monitor of one process. All methods raise Failed when the monitor is gone."""

    def __init__(self, directory: str, connection: socket.socket) -> None:
        self._directory = directory
        self._connection = connection
        self._state = _State()
        self._greeted = False
        self._lost = False
        self._news = asyncio.Event()
        self._sent = self._taken = 0
        self._order = asyncio.Lock()
        self._writable = asyncio.Event()
        asyncio.get_running_loop().add_reader(connection.fileno(), self._receive)

    @property
    def pid(self) -> int:
        """The process's id on the host; 0 before `create`."""
        return self._state.pid

    @property
    def phase(self) -> str:
        """How far the monitor is: new, creating, created, starting, started, exited or failed.

        "created" after adopting: go on with start.
        """
        return self._state.phase

    @property
    def waiting(self) -> bool:
        """The process cannot write at the moment: its spool is at the quota or the disk is full."""
        return self._state.waiting

    async def create(self) -> int:
        """Runs the runtime's create; returns the process's id. Once made, it only returns the id. Raises CreateFailed."""
        if self._state.phase == protocol.NEW:
            await self._send(protocol.request("create"))
        await self._until(lambda: self._state.phase not in (protocol.NEW, protocol.CREATING), _RUNTIME_SECONDS)
        if self._state.phase == protocol.FAILED:
            raise CreateFailed(self._state.error or "", self._state.status)
        return self._state.pid

    async def start(self) -> None:
        """Runs the runtime's start. Once started, also ended, it does nothing. Raises CreateFailed; the process may then still exist."""
        if self._state.started:
            return
        await self._send(protocol.request("start"))

        def answered() -> bool:
            state = self._state
            return state.started or state.phase == protocol.EXITED or (state.error is not None and state.phase != protocol.STARTING)

        await self._until(answered, _RUNTIME_SECONDS)
        if not self._state.started:
            raise CreateFailed(self._state.error or "the process ended before it was started", self._state.status)

    async def write_stdin(self, data: bytes) -> None:
        """Hands data to the process; returns when all but the last 256 KiB were taken. What an ended process did not read is lost."""
        view = memoryview(data)
        while view:
            piece, view = view[: protocol.STDIN_PIECE], view[protocol.STDIN_PIECE :]
            async with self._order:
                size = len(piece)
                goal = self._sent + size - protocol.STDIN_WINDOW
                await self._until(lambda goal=goal: self._ended() or self._taken >= goal, None)  # type: ignore[misc]
                if self._ended():
                    return
                self._sent += size
                await self._send(protocol.STDIN + bytes(piece))

    async def close_stdin(self) -> None:
        """Ends the process's stdin after what was written before. Does nothing for a terminal, as in Docker, nor a second time."""
        async with self._order:
            await self._send(protocol.request("close_stdin"))

    async def resize(self, rows: int, columns: int) -> None:
        """Sets the terminal's size. Without a terminal nothing happens."""
        if not (0 <= rows < 65536 and 0 <= columns < 65536):
            raise InvalidArgument(f"terminal size {rows} x {columns}: at most 65535")
        await self._send(protocol.request("resize", rows=rows, columns=columns))

    async def wait(self) -> Exit:
        """Returns the exit when the process has ended and its output lies in the spool. Any number of times, by any number of callers."""
        try:
            await self._until(lambda: self._state.exit is not None, None)
        except Failed:
            left = await asyncio.to_thread(read_exit, self._directory)
            if left is None:
                raise
            return left
        assert self._state.exit is not None
        return self._state.exit

    async def close(self) -> None:
        """Disconnects; the process runs on. After its end the monitor leaves once nobody is connected."""
        if not self._lost:
            self._lose()

    async def leave(self) -> None:
        """Tells a monitor without a living process to leave, whoever else is connected."""
        await self._send(protocol.request("leave"))

    async def greet(self) -> None:
        """Waits for the first report."""
        await self._until(lambda: self._greeted, _ANSWER_SECONDS)

    def _ended(self) -> bool:
        return self._state.phase in (protocol.EXITED, protocol.FAILED)

    async def _until(self, done: Callable[[], bool], seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    if self._lost:
                        raise Failed(f"the monitor in {self._directory} is gone")
                    await self._news.wait()
        except TimeoutError:
            raise Failed(f"the monitor in {self._directory} does not answer") from None

    async def _send(self, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._lost:
                raise Failed(f"the monitor in {self._directory} is gone")
            try:
                self._connection.send(message)
                return
            except BlockingIOError:
                self._writable.clear()
                loop.add_writer(self._connection.fileno(), self._can_write)
                await self._writable.wait()
            except OSError:
                self._lose()

    def _can_write(self) -> None:
        asyncio.get_running_loop().remove_writer(self._connection.fileno())
        self._writable.set()

    def _receive(self) -> None:
        while not self._lost:
            try:
                message = self._connection.recv(protocol.MESSAGE_LIMIT)
            except BlockingIOError:
                break
            except OSError:
                message = b""
            if not message:
                self._lose()
            elif message[:1] == protocol.TAKEN:
                self._taken = protocol.taken_bytes(message)
            else:
                self._state = _state_decoder.decode(message)
                self._greeted = True
        # Whoever waits looks again; later waiters wait for later news.
        self._news.set()
        self._news = asyncio.Event()

    def _lose(self) -> None:
        self._lost = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._connection.fileno())
        loop.remove_writer(self._connection.fileno())
        self._connection.close()
        self._writable.set()
        self._news.set()
        self._news = asyncio.Event()


class Monitors:
    """Launches monitors through the keeper and finds running ones."""

    def __init__(self, keeper_socket: str, *, mounts: str = "auto") -> None:
        """mounts is for a keeper that must be started; see `ensure_keeper`."""
        self._keeper = keeper_socket
        self._mounts = mounts

    async def launch(self, job: Job) -> Monitor:
        """Starts a monitor for the job's directory and connects to it. Starts a keeper when none answers.

        Raises Conflict when the directory has a living monitor already, Failed when it is missing, Unavailable without a keeper.
        """
        await self._make_way(job.directory)
        await asyncio.to_thread(_prepare, job)
        answer = await self._ask({"directory": job.directory})
        if "error" in answer:
            raise Failed(f"cannot start a monitor in {job.directory}: {answer['error']}")
        connection = await _connect(job.directory)
        if connection is None:
            raise Failed(f"the monitor in {job.directory} ended at once")
        return await _greeted(Monitor(job.directory, connection))

    async def adopt(self, directory: str) -> Monitor | Exit | None:
        """Returns the living monitor in directory, or how its process ended, or None when there is neither."""
        connection = await _connect(directory)
        if connection is not None:
            monitor = Monitor(directory, connection)
            try:
                await _greeted(monitor)
            except Failed:
                pass  # it was just leaving
            else:
                if monitor.phase != protocol.EXITED:
                    return monitor
                exit_ = await monitor.wait()
                await monitor.close()
                return exit_
        return await asyncio.to_thread(read_exit, directory)

    async def _make_way(self, directory: str) -> None:
        """Sends an earlier run's monitor away, which may be just leaving. Raises Conflict when its process lives."""
        deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
        while (connection := await _connect(directory)) is not None:
            monitor = Monitor(directory, connection)
            try:
                await monitor.greet()
                if monitor.phase not in (protocol.NEW, protocol.EXITED, protocol.FAILED) or asyncio.get_running_loop().time() > deadline:
                    raise Conflict(f"a monitor lives in {directory} already")
                await monitor.leave()
            except Failed:
                pass  # it left
            finally:
                await monitor.close()
            await asyncio.sleep(0.002)

    async def _ask(self, request: dict[str, str]) -> dict[str, Any]:
        connection = await _connected(self._keeper)
        if connection is None:
            await ensure_keeper(os.path.dirname(self._keeper), mounts=self._mounts)
            connection = await _connected(self._keeper)
        if connection is None:
            raise Unavailable("the keeper of the containers' monitors does not answer")
        try:
            connection.send(msgspec.json.encode(request))
            async with asyncio.timeout(_ANSWER_SECONDS):
                await _readable(connection)
            answer = connection.recv(protocol.MESSAGE_LIMIT)
        except (OSError, TimeoutError):
            raise Unavailable("the keeper of the containers' monitors does not answer") from None
        finally:
            connection.close()
        if not answer:
            raise Unavailable("the keeper of the containers' monitors ended")
        return msgspec.json.decode(answer, type=dict[str, Any])


def keeper_command(run: str, *, mounts: str = "auto", detach: bool = False) -> list[str]:
    """Returns the argv that starts a keeper; see skerry.containers.monitor.keeper for its options."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys; sys.path.insert(0, {root!r}); from skerry.containers.monitor.keeper import main; main()"
    argv = [sys.executable, "-I", "-S", "-E", "-c", code, "--run", run, "--mounts", mounts]
    return [*argv, "--detach"] if detach else argv


async def ensure_keeper(run: str, *, mounts: str = "auto") -> None:
    """Starts a keeper for RUN unless one answers. It is not a child of this process. Raises Failed with what it said."""
    connection = await _connected(f"{run}/keeper.sock")
    if connection is not None:
        connection.close()
        return
    result = await process.run(keeper_command(run, mounts=mounts, detach=True), timeout=30, check=False)
    connection = await _connected(f"{run}/keeper.sock")
    if connection is None:
        raise Failed(f"cannot start the keeper of the containers' monitors: {result.last_line()}")
    connection.close()


def read_exit(directory: str) -> Exit | None:
    """Returns the exit of the job that directory's monitor.json describes; None while there is none. Blocks."""
    try:
        with open(f"{directory}/exit", "rb") as file:
            exit_ = _exit_decoder.decode(file.read())
        with open(f"{directory}/monitor.json", "rb") as file:
            run = msgspec.json.decode(file.read())["run"]
    except (FileNotFoundError, msgspec.DecodeError, msgspec.ValidationError):
        return None
    return exit_ if exit_.run == run else None


def _prepare(job: Job) -> None:
    try:
        os.unlink(f"{job.directory}/exit")
    except FileNotFoundError:
        pass
    try:
        write_atomic(f"{job.directory}/monitor.json", msgspec.json.encode(job), sync=False)
    except OSError as error:
        raise Failed(f"cannot prepare {job.directory}: {error.strerror}") from None


async def _greeted(monitor: Monitor) -> Monitor:
    try:
        await monitor.greet()
    except BaseException:
        await monitor.close()
        raise
    return monitor


async def _connect(directory: str) -> socket.socket | None:
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # The directory's name may be longer than a socket's address can be.
        return await _connected(f"/proc/self/fd/{fd}/{protocol.SOCKET}")
    finally:
        os.close(fd)


async def _connected(path: str) -> socket.socket | None:
    """Returns a connection, or None when nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    deadline = asyncio.get_running_loop().time() + _CONNECT_SECONDS
    while True:
        try:
            connection.connect(path)
            return connection
        except BlockingIOError:  # its queue is full
            if asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.01)
                continue
        except OSError:
            pass
        connection.close()
        return None


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection.fileno())
