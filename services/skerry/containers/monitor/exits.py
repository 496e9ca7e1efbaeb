"""Processes that are nobody's children here: their exit status, and finding them again."""

import array
import fcntl
import os
import struct
from collections.abc import Callable

from skerry.containers.monitor.loop import IN, Loop

# PIDFD_GET_INFO of Linux 6.13; the exit status is in it from 6.15 on, once somebody reaped the process (include/uapi/linux/pidfd.h).
_INFO_SIZE = 80
_GET_INFO = 0xC000FF0B | _INFO_SIZE << 16
_INFO_EXIT = 8
_INFO_EXIT_AT = 60
_FIRST_LOOK, _LOOK_SECONDS, _LOOKS = 0.002, 0.01, 100


class Strangers:
    """Follows processes by pidfd; calls ended(pid, status) with their wait status, None when nobody can tell it."""

    def __init__(self, loop: Loop, ended: Callable[[int, int | None], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._pidfds: dict[int, int] = {}

    def watch(self, pid: int, pidfd: int) -> None:
        """Follows a process by a duplicate of pidfd."""
        self.forget(pid)
        self._pidfds[pid] = pidfd = os.dup(pidfd)
        self._loop.watch(pidfd, IN, lambda _fd, _events: self._gone(pid))

    def forget(self, pid: int) -> None:
        """Its end was heard of in another way."""
        pidfd = self._pidfds.pop(pid, None)
        if pidfd is not None:
            self._loop.forget(pidfd)
            self._loop.cancel(f"exit {pid}")
            os.close(pidfd)

    def _gone(self, pid: int) -> None:
        self._loop.forget(self._pidfds[pid])
        self._look(pid, 0)

    def _look(self, pid: int, looks: int) -> None:
        if pid not in self._pidfds:
            return
        status = exit_status(pid, self._pidfds[pid])
        # Whoever is its parent may be just about to reap it.
        if status is None and looks < _LOOKS:
            self._loop.after(f"exit {pid}", _LOOK_SECONDS if looks else _FIRST_LOOK, lambda: self._look(pid, looks + 1))
            return
        self.forget(pid)
        self._ended(pid, status)


def exit_code(status: int) -> int:
    """Turns a wait status into Docker's exit code: 128 + N when signal N ended the process."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def exit_status(pid: int, pidfd: int) -> int | None:
    """Returns the wait status of an ended process; None when it is not known (yet)."""
    try:
        information = array.array("B", struct.pack("<Q", _INFO_EXIT | 1) + bytes(_INFO_SIZE - 8))
        fcntl.ioctl(pidfd, _GET_INFO, information, True)
        if struct.unpack_from("<Q", information)[0] & _INFO_EXIT:
            return int(struct.unpack_from("<i", information, _INFO_EXIT_AT)[0])
    except OSError:
        pass  # an older kernel, or reaped before anybody held a pidfd
    fields = _stat(pid)
    return int(fields[49]) if fields and fields[0] == "Z" and _names(pidfd, pid) else None


def _names(pidfd: int, pid: int) -> bool:
    try:
        with open(f"/proc/self/fdinfo/{pidfd}") as file:
            return f"\nPid:\t{pid}\n" in file.read()
    except OSError:
        return False


def start_ticks(pid: int) -> int:
    """Returns when a process started, in clock ticks after boot; 0 when there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def open_process(pid: int, ticks: int) -> int:
    """Returns a pidfd of the process that started then, zombie or not; -1 when it has gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return -1
    if ticks and start_ticks(pid) != ticks:
        os.close(pidfd)
        return -1
    return pidfd


def command_lives(pid: int, argv: list[str]) -> bool:
    """Tells whether pid is a process, or the zombie of one, that was started with these words."""
    fields = _stat(pid)
    return bool(fields) and (fields[0] == "Z" or _command(pid) == _words(argv))


def find_command(argv: list[str], made: int) -> int:
    """Returns the id of a living process that was started with these words; 0 when there is none.

    The process that the runtime makes, `made`, looks the same until it executes something else: then the runtime is its parent.
    """
    wanted = _words(argv)
    found = {int(name) for name in os.listdir("/proc") if name.isdigit() and _command(int(name)) == wanted} - {made}
    return next((pid for pid in found if (fields := _stat(pid)) and int(fields[1]) not in found), 0)


def _words(argv: list[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in argv)


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""  # it has just ended


def reopen_pipe(inode: int, flags: int, first: int) -> int:
    """Opens a pipe anew, through any process that has it, process `first` before others; -1 when nobody has it any more."""
    wanted = f"pipe:[{inode}]"
    others = [name for name in os.listdir("/proc") if name.isdigit() and name != str(first)]
    for name in (str(first), *others):
        try:
            for fd in os.listdir(f"/proc/{name}/fd"):
                if os.readlink(f"/proc/{name}/fd/{fd}") == wanted:
                    return os.open(f"/proc/{name}/fd/{fd}", flags | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # ended, or closed it meanwhile
    return -1


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
