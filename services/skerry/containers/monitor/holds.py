"""What the keeper holds for its monitors, so that a killed one can be replaced."""

import array
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

_LIMIT = 4096
_MOST_FDS = 16
# A monitor that dies of itself (a bug) is replaced after longer and longer pauses; one that is killed, at once.
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 10.0
# Wait statuses of orphans that are remembered: whoever wants one comes within milliseconds.
_STATUSES = 256


class Hold:
    """One monitor's descriptors by name, and how its death is noticed. bare: it was made for a run of which nothing was held."""

    __slots__ = ("bare", "connection", "crashes", "deaths", "directory", "fds", "left", "monitor", "pidfd")

    def __init__(self, directory: str, fds: dict[str, int]) -> None:
        self.directory = directory
        self.fds = fds
        self.bare = False
        # 0: there is none at the moment.
        self.monitor = 0
        # Of a monitor that is no child of ours; -1: it is.
        self.pidfd = -1
        self.connection: socket.socket | None = None
        self.left = False
        self.deaths = self.crashes = 0


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Returns a packet and the descriptors that came with it; {"op": "end"} behind the last one, None when there is none yet."""
    try:
        message, ancillary, _, _ = connection.recvmsg(_LIMIT, socket.CMSG_SPACE(4 * _MOST_FDS), socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return None
    except OSError:
        return {"op": "end"}, []
    fds = array.array("i")
    for _, kind, data in ancillary:
        if kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % 4])
    try:
        request = json.loads(message) if message else {"op": "end"}
    except ValueError:
        request = {"op": "nonsense"}
    return request if isinstance(request, dict) else {"op": "nonsense"}, list(fds)


class Holds:
    """All of a keeper's. fork(hold) makes a process that goes on from what is held; it returns its id and a connection to it."""

    def __init__(self, poll: select.poll, fork: Callable[[Hold], tuple[int, socket.socket]]) -> None:
        self._poll = poll
        self._fork = fork
        self._holds: dict[str, Hold] = {}
        self._by_fd: dict[int, Hold] = {}
        self._by_pid: dict[int, Hold] = {}
        self._due: dict[str, float] = {}
        # Of processes that became our children when their monitor was killed.
        self.statuses: dict[int, int] = {}

    def living(self, directory: str) -> int:
        """Returns the id of the monitor there; 0 when there is none. What was held for one that does not come up is given up then."""
        hold = self._holds.get(directory)
        if hold is None:
            return 0
        self._read(hold)
        if not hold.left and not hold.monitor:
            self._retire(hold)
        return 0 if hold.left else hold.monitor

    def begin(self, hold: Hold) -> int:
        """Forks a first monitor. Raises OSError, ValueError; then nothing is held."""
        try:
            self._launch(hold)
        except (OSError, ValueError):
            self._close(hold)
            raise
        self._holds[hold.directory] = hold
        return hold.monitor

    def adopt(self, connection: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
        """Takes a monitor over that an earlier keeper forked, or that lost its connection to us."""
        pid = int(struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
        directory = str(request.get("directory"))
        hold = self._holds.get(directory)
        if hold is None or hold.monitor != pid:
            if hold is not None:
                self._retire(hold)
            hold = self._holds[directory] = Hold(directory, {})
            hold.monitor = pid
            hold.deaths = 1  # not our child; what it inherits, when it is replaced, is not the first monitor's
            try:
                hold.pidfd = os.pidfd_open(pid)
            except OSError:
                pass
            else:
                self._by_fd[hold.pidfd] = hold
                self._poll.register(hold.pidfd, select.POLLIN)
        else:
            self._disconnect(hold)
        hold.connection = connection
        self._by_fd[connection.fileno()] = hold
        self._do(hold, request, fds)
        if hold.pidfd < 0 and pid not in self._by_pid:
            self._died(hold, 0.0)

    def ready(self, fd: int) -> None:
        """Something happened on a descriptor that is none of the keeper's own."""
        hold = self._by_fd.get(fd)
        if hold is None:
            return
        if fd == hold.pidfd:
            self._died(hold, 0.0)
        else:
            self._read(hold)

    def reap(self) -> None:
        """Buries monitors, and the orphans of monitors that were killed; those that took their place are told."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            hold = self._by_pid.pop(pid, None)
            if hold is None:
                self._tell(pid, status)
            elif hold.monitor == pid:
                self._died(hold, self._pause(hold, status))

    def timeout_ms(self) -> int:
        """Returns how long poll may sleep; -1: for ever."""
        return max(0, int((min(self._due.values()) - time.monotonic()) * 1000) + 1) if self._due else -1

    def replace_due(self) -> None:
        """Replaces the monitors whose time has come."""
        now = time.monotonic()
        for directory in [directory for directory, due in self._due.items() if due <= now]:
            del self._due[directory]
            hold = self._holds[directory]
            try:
                self._launch(hold)
            except FileNotFoundError:
                self._retire(hold)  # its directory was removed
            except (OSError, ValueError):
                hold.crashes += 1
                self._due[directory] = now + self._crash_pause(hold)

    def _launch(self, hold: Hold) -> None:
        hold.monitor, hold.connection = self._fork(hold)
        hold.deaths += hold.bare
        hold.bare = False
        self._by_pid[hold.monitor] = hold
        self._by_fd[hold.connection.fileno()] = hold
        self._poll.register(hold.connection.fileno(), select.POLLIN)

    def _pause(self, hold: Hold, status: int) -> float:
        if status == 0:
            hold.left = True
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return 0.0
        hold.crashes += 1
        return self._crash_pause(hold)

    def _crash_pause(self, hold: Hold) -> float:
        return float(min(_FIRST_PAUSE * 2 ** min(hold.crashes - 1, 10), _LAST_PAUSE))

    def _died(self, hold: Hold, pause: float) -> None:
        """The monitor's process is dead: reads what it still said; then it is replaced, unless it had left."""
        self._read(hold)
        self._disconnect(hold)
        self._forget_process(hold)
        hold.monitor = 0
        hold.deaths += 1
        if hold.left:
            self._retire(hold)
        else:
            self._due[hold.directory] = time.monotonic() + pause

    def _read(self, hold: Hold) -> None:
        while hold.connection is not None and (packet := receive(hold.connection)) is not None:
            if packet[0].get("op") == "end":
                self._disconnect(hold)
                return
            self._do(hold, *packet)

    def _do(self, hold: Hold, request: dict[str, Any], fds: list[int]) -> None:
        names = request.get("names", ())
        match request.get("op"):
            case "hold":
                for name, fd in zip(names, fds, strict=False):
                    self._give_back(hold, name)
                    hold.fds[name] = fd
            case "drop":
                for name in names:
                    self._give_back(hold, name)
            case "leave":
                hold.left = True
                self._retire(hold)

    def _give_back(self, hold: Hold, name: str) -> None:
        fd = hold.fds.pop(name, -1)
        if fd >= 0:
            os.close(fd)

    def _tell(self, pid: int, status: int) -> None:
        self.statuses[pid] = status
        if len(self.statuses) > _STATUSES:
            del self.statuses[next(iter(self.statuses))]
        message = json.dumps({"pid": pid, "status": status}).encode()
        for hold in self._holds.values():
            if hold.deaths and hold.connection is not None:
                try:
                    hold.connection.send(message)
                except OSError:
                    pass  # it is dying; its successor is told at its birth

    def _retire(self, hold: Hold) -> None:
        """Holds nothing any more. Its monitor, if it lives, is only to be buried."""
        if self._holds.get(hold.directory) is hold:
            del self._holds[hold.directory]
            self._due.pop(hold.directory, None)
        self._disconnect(hold)
        self._forget_process(hold)
        self._close(hold)

    def _close(self, hold: Hold) -> None:
        for name in list(hold.fds):
            self._give_back(hold, name)

    def _disconnect(self, hold: Hold) -> None:
        if hold.connection is not None:
            self._forget(hold.connection.fileno())
            hold.connection.close()
            hold.connection = None

    def _forget_process(self, hold: Hold) -> None:
        if hold.pidfd >= 0:
            self._forget(hold.pidfd)
            os.close(hold.pidfd)
            hold.pidfd = -1

    def _forget(self, fd: int) -> None:
        self._by_fd.pop(fd, None)
        self._poll.unregister(fd)
