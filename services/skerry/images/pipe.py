"""A bounded pipe from the event loop to a thread: the loop puts chunks, the thread reads them like a file."""

import asyncio
import io
import threading
from collections import deque

_LIMIT = 1 << 20


class Pipe(io.RawIOBase):
    """Written by one coroutine, read by one thread. Reading blocks; putting waits while more than 1 MiB lie in it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._chunks: deque[memoryview] = deque()
        self._size = 0
        self._end: BaseException | bool = False
        self._abandoned = False
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, chunk: bytes) -> None:
        """Adds a chunk; waits for room. Does nothing once the reader has gone: it raises its own error."""
        await self._room.wait()
        with self._changed:
            if self._abandoned or not chunk:
                return
            self._chunks.append(memoryview(chunk))
            self._size += len(chunk)
            if self._size > _LIMIT:
                self._room.clear()
            self._changed.notify()

    def finish(self, error: BaseException | None = None) -> None:
        """Says that no more comes: the end, or an error that the reader shall raise."""
        with self._changed:
            self._end = error or True
            self._changed.notify()

    def abandon(self) -> None:
        """Says that nobody reads any more, so that a writer does not wait for room. Called by the reader's thread."""
        with self._changed:
            self._abandoned = True
            self._chunks.clear()
        self._loop.call_soon_threadsafe(self._room.set)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # narrower than the stubs' Buffer
        with self._changed:
            while not self._chunks:
                if isinstance(self._end, BaseException):
                    raise self._end
                if self._end:
                    return 0
                self._changed.wait()
            chunk = self._chunks[0]
            count = min(len(buffer), len(chunk))
            memoryview(buffer)[:count] = chunk[:count]
            if count == len(chunk):
                self._chunks.popleft()
            else:
                self._chunks[0] = chunk[count:]
            was_full = self._size > _LIMIT
            self._size -= count
            if was_full and self._size <= _LIMIT:
                self._loop.call_soon_threadsafe(self._room.set)
            return count
