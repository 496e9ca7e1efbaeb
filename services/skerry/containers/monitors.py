"""Starting monitors and talking to them; see docs/spool.md for the protocol.

A monitor outlives this service: `adopt` finds the ones that an earlier service started.
"""

import asyncio
import os
import resource
import socket
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from skerry.containers.monitor import protocol
from skerry.containers.monitor_client import ANSWER_SECONDS, CreateFailed, Exit, Monitor, connect, connect_path, read_exit
from skerry.core import process
from skerry.core.errors import Conflict, Failed, Unavailable
from skerry.core.files import write_atomic

__all__ = ["CreateFailed", "Exit", "Job", "Monitor", "Monitors", "ensure_keeper", "keeper_command", "read_exit"]

_CONNECT_SECONDS = 2.0
# What this process was started with, whatever it raises the limit to later: containers inherit the keeper's.
_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


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
        connection = await connect(job.directory)
        if connection is None:
            raise Failed(f"the monitor in {job.directory} ended at once")
        return await _greeted(Monitor(job.directory, connection))

    async def adopt(self, directory: str) -> Monitor | Exit | None:
        """Returns the living monitor in directory, or how its process ended, or None when there is neither."""
        connection = await connect(directory)
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

    async def again(self, directory: str, process: int = -1) -> Monitor | Exit | None:
        """Like `adopt`, for a run whose monitor was killed together with the keeper: a new one follows what is left.

        process: a pidfd of the run's process, if the caller has one: its end is then known for certain. Raises Unavailable.
        """
        if (left := await asyncio.to_thread(read_exit, directory)) is not None:
            return left
        if "error" in await self._ask({"directory": directory, "again": True}, [process] if process >= 0 else []):
            return None
        found = await self.adopt(directory)
        if isinstance(found, Monitor) and not found.pid:
            # Nothing is known of the run: it was begun by a version without notes.
            await found.close()
            return None
        return found

    async def _make_way(self, directory: str) -> None:
        """Sends an earlier run's monitor away, which may be just leaving. Raises Conflict when its process lives."""
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        while (connection := await connect(directory)) is not None:
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

    async def _ask(self, request: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        connection = await _connected(self._keeper)
        if connection is None:
            await ensure_keeper(os.path.dirname(self._keeper), mounts=self._mounts)
            connection = await _connected(self._keeper)
        if connection is None:
            raise Unavailable("the keeper of the containers' monitors does not answer")
        try:
            socket.send_fds(connection, [msgspec.json.encode(request)], list(fds))
            async with asyncio.timeout(ANSWER_SECONDS):
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
    argv = [sys.executable, "-I", "-S", "-E", "-c", code, "--run", run, "--mounts", mounts, "--files", str(_FILES)]
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


async def _connected(path: str) -> socket.socket | None:
    """Returns a connection, or None when nobody listens there."""
    deadline = asyncio.get_running_loop().time() + _CONNECT_SECONDS
    while True:
        try:
            return connect_path(path)
        except BlockingIOError:  # its queue is full
            if asyncio.get_running_loop().time() > deadline:
                return None
            await asyncio.sleep(0.01)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection.fileno())
