"""Feeds a process's stdin from packets of its clients: bounded, in order, without ever blocking the monitor."""

import os
from collections import deque
from collections.abc import Callable

from skerry.containers.monitor.loop import OUT, Loop

# client, bytes; None: stdin ends here.
_Item = tuple[int, "memoryview | None"]


class Stdin:
    """Queue before the process's stdin. took(client, count) is called as bytes are taken, also when nobody will read them."""

    def __init__(self, loop: Loop, took: Callable[[int, int], None]) -> None:
        self._loop = loop
        self._took = took
        self._queue: deque[_Item] = deque()
        self._fd = -1
        self._closed = False

    def open(self, fd: int) -> None:
        """Takes over the write end; what was queued before goes first."""
        os.set_blocking(fd, False)
        self._fd = fd
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
        self._closed = True
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._flush()

    def _ready(self, _fd: int, _events: int) -> None:
        self._flush()

    def _flush(self) -> None:
        while self._queue:
            client, data = self._queue[0]
            if self._closed:
                self._queue.popleft()
                if data is not None:
                    self._took(client, len(data))
                continue
            if self._fd < 0:
                return
            if data is None:
                self._queue.popleft()
                self.close()
                return
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                self._loop.watch(self._fd, OUT, self._ready)
                return
            except OSError:  # its reader is gone
                self.close()
                return
            self._queue[0] = (client, data[written:])
            if written == len(data):
                self._queue.popleft()
            self._took(client, written)
        if self._fd >= 0:
            self._loop.forget(self._fd)
