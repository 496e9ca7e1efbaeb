"""The monitor's side of its connection to the keeper, which holds duplicates of what a successor needs."""

import array
import json
import os
import socket
from collections.abc import Callable

from skerry.containers.monitor.loop import IN, Loop

# As long as no keeper answers.
_FIRST_TRY, _LAST_TRY = 0.03, 1.0
_LIMIT = 4096


class Link:
    """Descriptors by name, held by this process and by whoever is the keeper. exited(pid, status): the keeper reaped a process."""

    def __init__(
        self, loop: Loop, path: str, directory: str, connection: socket.socket, exited: Callable[[int, int], None], fds: dict[str, int]
    ) -> None:
        """connection is one to the keeper that forked us, which holds fds already; path is a later keeper's socket."""
        self._loop = loop
        self._path = path
        self._directory = directory
        self._connection: socket.socket | None = connection
        self._exited = exited
        self._pause = _FIRST_TRY
        self.fds = fds
        connection.setblocking(False)
        loop.watch(connection.fileno(), IN, self._readable)

    def hold(self, **fds: int) -> None:
        """Gives the keeper duplicates. The descriptors become the link's: `drop` closes them."""
        self.fds.update(fds)
        self._send({"op": "hold", "directory": self._directory, "names": list(fds)}, list(fds.values()))

    def drop(self, *names: str) -> None:
        """Closes descriptors, here and there."""
        mine = [name for name in names if name in self.fds]
        for name in mine:
            os.close(self.fds.pop(name))
        if mine:
            self._send({"op": "drop", "names": mine})

    def leave(self) -> None:
        """Tells the keeper that nothing is left to take over."""
        self._send({"op": "leave"})

    def close(self) -> None:
        """Closes the connection and the descriptors."""
        self._lose(again=False)
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()

    def _send(self, message: dict[str, object], fds: list[int] | None = None) -> None:
        if self._connection is None:
            return  # all is given when a keeper is there again
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._connection.sendmsg([json.dumps(message).encode()], rights)
        except OSError:
            self._lose()

    def _readable(self, _fd: int, _events: int) -> None:
        assert self._connection is not None
        try:
            message = self._connection.recv(_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lose()
            return
        told = json.loads(message)
        self._exited(told["pid"], told["status"])

    def _lose(self, again: bool = True) -> None:
        if self._connection is not None:
            self._loop.forget(self._connection.fileno())
            self._connection.close()
            self._connection = None
        if again:
            self._pause = _FIRST_TRY
            self._loop.after("keeper", self._pause, self._connect)
        else:
            self._loop.cancel("keeper")

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            self._pause = min(self._pause * 2, _LAST_TRY)
            self._loop.after("keeper", self._pause, self._connect)
            return
        self._connection = connection
        self._loop.watch(connection.fileno(), IN, self._readable)
        self._send({"op": "hold", "directory": self._directory, "names": list(self.fds)}, list(self.fds.values()))
