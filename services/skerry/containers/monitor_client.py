"""Talking to the monitor of one process; docs/spool.md has the protocol.

A monitor that is killed is replaced by the keeper within milliseconds. The client connects to its successor by itself, asks again for what
was not done, and repeats the stdin that nobody took: callers notice nothing.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from skerry.containers.monitor import protocol
from skerry.containers.monitor.exits import open_process
from skerry.core.errors import Failed, InvalidArgument

# What a monitor or keeper may take to answer; the runtime's own time is limited by the monitor.
ANSWER_SECONDS = 10.0
_RUNTIME_SECONDS = protocol.RUNTIME_SECONDS + 10.0
_CONNECT_SECONDS = 2.0


class Exit(msgspec.Struct, frozen=True):
    """The end of a run. code is 128 + the signal's number when a signal ended it. error: why the code is not known; it is 255 then."""

    code: int
    time_ns: int
    run: int
    error: str = ""


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
    ticks: int = 0
    started: bool = False
    waiting: bool = False
    error: str | None = None
    status: int = 0
    exit: Exit | None = None
    # Bytes that were taken from all clients so far.
    stdin: int = 0
    stdin_ended: bool = False


_state_decoder = msgspec.json.Decoder(_State)
_exit_decoder = msgspec.json.Decoder(Exit)


class Monitor:
    """A connection to the monitor of one process. All methods raise Failed when it is gone and nobody took its place."""

    def __init__(self, directory: str, connection: socket.socket) -> None:
        self._directory = directory
        self._connection = connection
        self._state = _State()
        # Connections that were greeted by a state, and whether the present one is among them.
        self._generation = 0
        self._greeted = False
        self._lost = False
        self._news = asyncio.Event()
        self._outbox: deque[bytes] = deque()
        # Stdin that was not taken yet, and what of it the present connection has acknowledged.
        self._untaken: deque[bytes] = deque()
        self._untaken_size = 0
        self._taken = 0
        self._stdin_base = 0
        self._stdin_ends = False
        self._size: bytes | None = None
        self._order = asyncio.Lock()
        self._process = -1
        asyncio.get_running_loop().add_reader(connection.fileno(), self._receive)

    @property
    def pid(self) -> int:
        """The process's id on the host; 0 before `create`."""
        return self._state.pid

    @property
    def process(self) -> int:
        """A pidfd of the process, -1 when there is none; closed by `close`. How it ended can be told from it though all others are dead."""
        return self._process

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
        await self._ask("create", lambda: self._state.phase == protocol.NEW, (protocol.NEW, protocol.CREATING))
        if self._state.phase == protocol.FAILED:
            raise CreateFailed(self._state.error or "", self._state.status)
        return self._state.pid

    async def start(self) -> None:
        """Runs the runtime's start. Once started, also ended, it does nothing. Raises CreateFailed; the process may then still exist."""
        await self._ask("start", lambda: self._state.phase == protocol.CREATED and not self._state.started, (protocol.STARTING,))
        if not self._state.started:
            raise CreateFailed(self._state.error or "the process ended before it was started", self._state.status)

    async def _ask(self, op: str, wanted: Callable[[], bool], under_way: tuple[str, ...]) -> None:
        """Has a step done: asks for it, and asks a successor that finds it not begun again. Returns when it was done or refused."""
        while wanted() and not await self._asked(op, wanted, under_way):
            pass
        await self._until(lambda: self._state.phase not in under_way, _RUNTIME_SECONDS)

    async def _asked(self, op: str, wanted: Callable[[], bool], under_way: tuple[str, ...]) -> bool:
        """Returns whether there is an answer; False: another monitor is there that may have to be asked."""
        generation, error, begun = self._generation, self._state.error, self._state.phase

        def refused() -> bool:
            return self._state.error is not None and self._state.error is not error

        def news() -> bool:
            return self._state.phase not in (begun, *under_way) or refused() or (self._generation != generation and wanted())

        await self._send(protocol.request(op))
        await self._until(news, _RUNTIME_SECONDS)
        return refused() or not wanted()

    async def write_stdin(self, data: bytes) -> None:
        """Hands data to the process; returns when all but the last 256 KiB were taken. What an ended process did not read is lost."""
        view = memoryview(data)
        while view:
            piece, view = bytes(view[: protocol.STDIN_PIECE]), view[protocol.STDIN_PIECE :]
            async with self._order:
                # For as long as it takes: a process may leave its input unread.
                await self._until(partial(self._has_room, len(piece)), None)
                if self._ended():
                    return
                self._untaken.append(piece)
                self._untaken_size += len(piece)
                if self._greeted:  # otherwise the successor's greeting sends all that is untaken
                    await self._send(protocol.STDIN + piece)

    async def close_stdin(self) -> None:
        """Ends the process's stdin after what was written before. Does nothing for a terminal, as in Docker, nor a second time."""
        async with self._order:
            self._stdin_ends = True
            if self._greeted:
                await self._send(protocol.request("close_stdin"))

    async def resize(self, rows: int, columns: int) -> None:
        """Sets the terminal's size. Without a terminal nothing happens."""
        if not (0 <= rows < 65536 and 0 <= columns < 65536):
            raise InvalidArgument(f"terminal size {rows} x {columns}: at most 65535")
        self._size = protocol.request("resize", rows=rows, columns=columns)
        if self._greeted:
            await self._send(self._size)

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
            self._disconnect()
            self._give_up()
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    async def leave(self) -> None:
        """Tells a monitor without a living process to leave, whoever else is connected."""
        await self._send(protocol.request("leave"))

    async def greet(self) -> None:
        """Waits for the first report."""
        await self._until(lambda: self._greeted, ANSWER_SECONDS)

    def _ended(self) -> bool:
        return self._state.phase in (protocol.EXITED, protocol.FAILED)

    def _has_room(self, size: int) -> bool:
        return self._ended() or self._untaken_size + size <= protocol.STDIN_WINDOW

    async def _until(self, done: Callable[[], bool], seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    if self._lost:
                        raise Failed(f"the monitor in {self._directory} is gone")
                    await self._news.wait()
        except TimeoutError:
            raise Failed(f"the monitor in {self._directory} does not answer") from None

    def _tell(self) -> None:
        # Whoever waits looks again; later waiters wait for later news.
        self._news.set()
        self._news = asyncio.Event()

    async def _send(self, message: bytes) -> None:
        self._outbox.append(message)
        self._flush()
        await self._until(lambda: not self._outbox, None)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._outbox and not self._lost:
            try:
                self._connection.send(self._outbox[0])
            except BlockingIOError:
                loop.add_writer(self._connection.fileno(), self._can_write)
                return
            except OSError:
                self._reconnect()
                return
            self._outbox.popleft()

    def _can_write(self) -> None:
        asyncio.get_running_loop().remove_writer(self._connection.fileno())
        self._flush()
        self._tell()

    def _receive(self) -> None:
        while not self._lost:
            try:
                message = self._connection.recv(protocol.MESSAGE_LIMIT)
            except BlockingIOError:
                break
            except OSError:
                message = b""
            if not message:
                self._reconnect()
                break
            if message[:1] == protocol.TAKEN:
                self._took(protocol.taken_bytes(message) - self._taken)
                self._taken = protocol.taken_bytes(message)
            else:
                self._report(_state_decoder.decode(message))
        self._tell()

    def _report(self, state: _State) -> None:
        self._state = state
        if state.pid and self._process < 0 and state.exit is None:
            self._process = open_process(state.pid, state.ticks)
        if self._greeted:
            return
        self._greeted = True
        self._generation += 1
        if self._generation > 1:
            # What the one that was killed took without living to say so.
            self._took(min(state.stdin - self._stdin_base, self._untaken_size))
            again = [protocol.STDIN + piece for piece in self._untaken]
            if self._stdin_ends and not state.stdin_ended:
                again.append(protocol.request("close_stdin"))
            if self._size is not None:
                again.append(self._size)
            self._outbox.extend(again)
            self._flush()
        self._stdin_base = state.stdin

    def _took(self, count: int) -> None:
        self._untaken_size -= count
        self._stdin_base += count
        while count > 0 and self._untaken:
            first = self._untaken.popleft()
            if len(first) > count:
                self._untaken.appendleft(first[count:])
            count -= len(first)

    def _reconnect(self) -> None:
        """The monitor was killed, or has left. The keeper goes on listening for one that was killed."""
        self._disconnect()
        if self._lost:
            return
        loop = asyncio.get_running_loop()
        try:
            connection = None if self._ended() or self._state.exit is not None else connect_now(self._directory)
        except BlockingIOError:
            loop.call_later(0.01, self._reconnect)
            return
        if connection is None:
            self._give_up()
            return
        self._connection = connection
        loop.add_reader(connection.fileno(), self._receive)
        loop.call_later(ANSWER_SECONDS, self._expect, self._generation)

    def _expect(self, generation: int) -> None:
        if not self._lost and not self._greeted and self._generation == generation:
            self._disconnect()
            self._give_up()

    def _disconnect(self) -> None:
        if self._connection.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._connection.fileno())
            loop.remove_writer(self._connection.fileno())
            self._connection.close()
        self._outbox.clear()
        self._taken = 0
        self._greeted = False

    def _give_up(self) -> None:
        self._lost = True
        self._tell()


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


async def connect(directory: str) -> socket.socket | None:
    """Connects to the monitor in directory; None when nobody listens there."""
    deadline = asyncio.get_running_loop().time() + _CONNECT_SECONDS
    while True:
        try:
            return connect_now(directory)
        except BlockingIOError:  # its queue is full
            if asyncio.get_running_loop().time() > deadline:
                return None
            await asyncio.sleep(0.01)


def connect_now(directory: str) -> socket.socket | None:
    """Like `connect`. Raises BlockingIOError when too many others are waiting."""
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # The directory's name may be longer than a socket's address can be.
        return connect_path(f"/proc/self/fd/{fd}/{protocol.SOCKET}")
    finally:
        os.close(fd)


def connect_path(path: str) -> socket.socket | None:
    """Connects to a socket of packets; None when nobody listens there. Raises BlockingIOError when too many others are waiting."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except BlockingIOError:
        connection.close()
        raise
    except OSError:
        connection.close()
        return None
    return connection
