"""The monitor's side of its control socket: several connections at a time, none of which can stall or break it."""

import json
import socket
from collections.abc import Callable
from typing import Any

from skerry.containers.monitor import protocol
from skerry.containers.monitor.loop import IN, Loop
from skerry.containers.monitor.stdin import Stdin

_LIMIT = 16
_TURNS = 8


class _Client:
    __slots__ = ("given", "socket", "taken")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.given = self.taken = 0


class Clients:
    """Connections to monitor.sock. do(request) carries a request out; state() is told to each new client; alone() follows the last one."""

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        do: Callable[[dict[str, Any]], None],
        state: Callable[[], bytes],
        alone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._do = do
        self._state = state
        self._alone = alone
        self._clients: dict[int, _Client] = {}
        self.stdin: Stdin | None = None
        listener.setblocking(False)
        loop.watch(listener.fileno(), IN, self._accept)

    @property
    def any(self) -> bool:
        """Whether somebody is connected."""
        return bool(self._clients)

    def tell(self, message: bytes) -> None:
        """Sends to everybody. Who does not read is cut off."""
        for client in list(self._clients.values()):
            self._send(client, message)

    def taken(self, number: int, count: int) -> None:
        """Notes that count stdin bytes of a client were taken, and tells it."""
        client = self._clients.get(number)
        if client is not None:
            client.taken += count
            self._send(client, protocol.taken(client.taken))

    def close(self) -> None:
        """Cuts everybody off and stops listening."""
        for client in self._clients.values():
            self._loop.forget(client.socket.fileno())
            client.socket.close()
        self._clients.clear()
        self._loop.forget(self._listener.fileno())
        self._listener.close()

    def _accept(self, _fd: int, _events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it gave up meanwhile
        if len(self._clients) >= _LIMIT:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients[connection.fileno()] = client
        self._loop.watch(connection.fileno(), IN, self._readable)
        self._send(client, self._state())

    def _readable(self, fd: int, _events: int) -> None:
        client = self._clients[fd]
        for _ in range(_TURNS):
            try:
                message = client.socket.recv(protocol.MESSAGE_LIMIT)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message or not self._handle(fd, client, message):
                self._drop(client)
            if fd not in self._clients:
                return

    def _handle(self, number: int, client: _Client, message: bytes) -> bool:
        """Returns False for nonsense."""
        if message[:1] == protocol.STDIN:
            client.given += len(message) - 1
            if client.given - client.taken > protocol.STDIN_WINDOW:
                return False
            assert self.stdin is not None
            self.stdin.write(number, message[1:])
            return True
        try:
            request = json.loads(message)
            self._do(request)
        except (ValueError, KeyError, TypeError, OverflowError, OSError):
            return False
        return True

    def _send(self, client: _Client, message: bytes) -> None:
        try:
            client.socket.send(message)
        except OSError:  # gone, or does not read
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        fd = client.socket.fileno()
        if fd in self._clients:
            self._loop.forget(fd)
            del self._clients[fd]
            client.socket.close()
            if not self._clients:
                self._alone()
