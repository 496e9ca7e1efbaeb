"""Feeds a process's stdin from packets of its clients: bounded, in order, without ever blocking the monitor.

Bytes go by way of a pipe, the relay, which the keeper holds as well: what was taken from a client is in it, or was moved on by splice. So
a killed monitor's successor knows to the byte what the process got, and clients repeat what nobody took.
"""

import errno
import fcntl
import os
import termios
from collections import deque
from collections.abc import Callable

from skerry.containers.monitor.loop import OUT, Loop
from skerry.containers.monitor.notes import Notes

# client, bytes; None: stdin ends here.
_Item = tuple[int, "memoryview | None"]
_MOST = 65536


class Stdin:
    """Queue before the process's stdin. took(client, count) is called as bytes are taken, also when nobody will read them.

    closed() is called once, when stdin has ended or its reader has gone: then the descriptors are to be given back.
    """

    def __init__(self, loop: Loop, notes: Notes, took: Callable[[int, int], None], closed: Callable[[], None]) -> None:
        self._loop = loop
        self._notes = notes
        self._took = took
        self._tell_closed = closed
        self._queue: deque[_Item] = deque()
        self._fd = self._reader = self._writer = -1
        self._closed = False
        self._rest = b""

    def open(self, fd: int, relay: tuple[int, int]) -> None:
        """Follows the write end; what a killed monitor had taken goes first, then what was queued before."""
        self._fd, (self._reader, self._writer) = fd, relay
        for each in (fd, *relay):
            os.set_blocking(each, False)
        if self._notes.giving:
            self._notes.give(self._notes.given + self._waiting(), False)
        if self._notes.stdin_ended:
            self._queue.append((0, None))
        self._flush()

    def write(self, client: int, data: bytes) -> None:
        """Queues bytes. The caller keeps each client's part bounded."""
        self._queue.append((client, memoryview(data)))
        self._flush()

    def end(self) -> None:
        """Ends stdin behind what is queued."""
        self._queue.append((0, None))
        self._flush()

    def close(self) -> None:
        """Nobody reads any more."""
        if not self._closed:
            self._closed = True
            if self._fd >= 0:
                self._loop.forget(self._fd)
                self._fd = -1
            self._tell_closed()
        self._flush()

    def _ready(self, _fd: int, _events: int) -> None:
        self._flush()

    def _waiting(self) -> int:
        return int.from_bytes(fcntl.ioctl(self._reader, termios.FIONREAD, b"\0\0\0\0"), "little")

    def _flush(self) -> None:
        while self._queue and self._closed:
            client, data = self._queue.popleft()
            if data is not None:
                self._took(client, len(data))
        if self._fd < 0:
            return
        while True:
            try:
                while self._rest or self._waiting():
                    self._pass_on()
            except BlockingIOError:
                self._loop.watch(self._fd, OUT, self._ready)
                return
            except OSError:  # its reader is gone
                self.close()
                return
            if not self._queue:
                self._loop.forget(self._fd)
                return
            client, data = self._queue[0]
            if data is None:
                # From now on a successor does it, should we be killed.
                self._notes.stdin_ended = True
                self._notes.save()
                self.close()
                return
            self._take(client, data)

    def _take(self, client: int, data: memoryview) -> None:
        """Puts bytes into the empty relay. What it holds is then what was taken, whether or not we live to write that down."""
        self._notes.give(self._notes.given, True)
        written = os.write(self._writer, data[:_MOST])
        self._notes.give(self._notes.given + written, False)
        if written == len(data):
            self._queue.popleft()
        else:
            self._queue[0] = (client, data[written:])
        self._took(client, written)

    def _pass_on(self) -> None:
        while self._rest:
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        try:
            os.splice(self._reader, self._fd, _MOST)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A terminal of a kernel that cannot splice into one.
            self._rest = os.read(self._reader, _MOST)
