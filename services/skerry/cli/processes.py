"""Processes that may not be our children: known by pid and start time, watched by pidfd."""

import asyncio
import ctypes
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Mapping, Sequence

import msgspec

_SYS_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


class Process(msgspec.Struct, frozen=True):
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    # Clock ticks after boot, field 22 of /proc/PID/stat.
    started: int

    def alive(self) -> bool:
        """Tells whether this very process runs (a zombie does not)."""
        state, started = _stat(self.pid)
        return started == self.started and state not in "ZX"

    def signal(self, number: int) -> None:
        """Sends a signal; does nothing when the process has gone."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    async def ended(self, timeout: float | None = None) -> bool:
        """Waits for the end and reaps it when it is our child. False when timeout seconds passed before."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_reader(pidfd, done.set)
        try:
            if self.alive():
                async with asyncio.timeout(timeout):
                    await done.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        try:
            os.waitpid(self.pid, os.WNOHANG)  # noqa: ASYNC222 - does not wait
        except ChildProcessError:
            pass  # started by an earlier supervisor
        return True


def _stat(pid: int) -> tuple[str, int]:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", -1
    return fields[0], int(fields[19])


def identify(pid: int) -> Process:
    """Returns the identity of a running process."""
    return Process(pid, _stat(pid)[1])


def spawn(argv: Sequence[str], environ: Mapping[str, str], descriptors: Sequence[int] = ()) -> Process:
    """Starts a program in a session of its own; descriptors become its 3, 4, ... . Raises OSError."""
    # Duplicates above all targets first, so that no target is overwritten before it was copied.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3 + len(descriptors)) for fd in descriptors]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(high, 3)]
        pid = os.posix_spawn(argv[0], list(argv), dict(environ), file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE])
    finally:
        for fd in high:
            os.close(fd)
    return identify(pid)


def answering(path: str) -> Process | None:
    """Returns the process that listens on a SOCK_SEQPACKET unix socket, or None."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(path)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
    return identify(struct.unpack("3i", credentials)[0])


def take_listener(process: Process, descriptor: int, path: str) -> socket.socket | None:
    """Returns a duplicate of another process's listening socket, or None when that descriptor is not the listener of path.

    It lets a supervisor that was killed and started again keep docker.sock's inode, which containers may have mounted.
    """
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    try:
        fd = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, descriptor, 0)
    finally:
        os.close(pidfd)
    if fd < 0:
        return None
    try:
        listener = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None
    try:
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        if listening and listener.getsockname() == path and os.path.exists(path):
            return listener
    except OSError:
        pass
    listener.close()
    return None
