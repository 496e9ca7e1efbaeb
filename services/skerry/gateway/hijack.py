"""Taking an HTTP connection over for raw bytes in both directions: attach and exec.

aiohttp's own 101 response cannot be used: asyncio closes a transport when the client half-closes, unless its protocol says otherwise, and
the docker CLI half-closes at once when it has no stdin. So the transport gets a protocol of ours.
"""

import asyncio
from collections import deque
from typing import Any

from aiohttp import web

from skerry.gateway.call import COMMON_HEADERS

# Input that may wait here before the client is no longer read.
_INPUT_HIGH = 256 << 10
# docker-py drops what arrives in one piece with the head (it reads the raw socket behind http.client's buffer).
_HEAD_GAP = 0.0015
_FLUSH_SECONDS = 60.0
_LINGER_SECONDS = 2.0


class Stream(asyncio.Protocol):
    """The raw connection. `read` gives b"" once at the client's EOF; `closed` is set when the connection is gone."""

    def __init__(self, transport: asyncio.Transport, before: asyncio.BaseProtocol) -> None:
        self._transport = transport
        # aiohttp's protocol: it counts connections, so it must hear of the end.
        self._before = before
        self._input: deque[bytes] = deque()
        self._size = 0
        self._eof = False
        self._paused = False
        self._dropping = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        if self._dropping:
            return
        self._input.append(data)
        self._size += len(data)
        self._readable.set()
        if self._size >= _INPUT_HIGH and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self.closed.set()
        self._readable.set()
        self._writable.set()
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def read(self) -> bytes:
        """Returns the next piece of input, b"" when the client will send no more."""
        while not self._input:
            if self._eof:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._input.popleft()
        self._size -= len(data)
        if self._paused and self._size < _INPUT_HIGH // 2 and not self._eof:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Sends data; waits while the client does not take it. Raises ConnectionResetError when it has left."""
        if not self._writable.is_set():
            await self._writable.wait()
        if self.closed.is_set() or self._transport.is_closing():
            raise ConnectionResetError("client went away")
        self._transport.write(data)

    async def start(self, head: bytes) -> None:
        """Sends the head, then waits for the first byte or EOF of the client, or the gap after which data may follow."""
        self._transport.write(head)
        try:
            async with asyncio.timeout(_HEAD_GAP):
                await self._readable.wait()
        except TimeoutError:
            pass

    async def flush(self) -> None:
        """Waits until the kernel has all that was written, or the client has left."""
        self._transport.set_write_buffer_limits(0)
        await self._writable.wait()

    async def finish(self) -> None:
        """Ends the output, then waits a moment for the client to end its side, and closes.

        A unix socket that is closed with unread input shows its peer ECONNRESET instead of the end of the output.
        """
        try:
            # A client that takes nothing more must not hold this for ever.
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self.flush()
        except TimeoutError:
            self._transport.abort()
            return
        if not self._eof and not self._transport.is_closing():
            self._dropping = True
            self._input.clear()
            self._transport.write_eof()
            if self._paused:
                self._transport.resume_reading()
            self._readable.clear()
            try:
                async with asyncio.timeout(_LINGER_SECONDS):
                    await self._readable.wait()
            except TimeoutError:
                pass
        self._transport.close()


class Taken(web.StreamResponse):
    """What a handler returns after a hijack: aiohttp writes nothing any more."""

    async def prepare(self, request: Any) -> None:
        """Writes nothing."""

    async def write_eof(self, data: Any = b"") -> None:
        """Writes nothing."""

    @property
    def keep_alive(self) -> bool:
        """Says that the connection is over."""
        return False


def wants_upgrade(request: web.BaseRequest) -> bool:
    """Tells whether the client asked for 101 (Connection: Upgrade, Upgrade: tcp)."""
    return "upgrade" in request.headers.get("Connection", "").lower() and bool(request.headers.get("Upgrade"))


async def take_over(request: web.BaseRequest, content_type: str) -> Stream:
    """Makes the request's connection raw and sends the head. The body must have been read. Raises ConnectionResetError."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("client went away")
    stream = Stream(transport, transport.get_protocol())
    transport.set_protocol(stream)
    common = "".join(f"{key}: {value}\r\n" for key, value in COMMON_HEADERS.items())
    if wants_upgrade(request):
        head = f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{common}\r\n"
    else:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{common}\r\n"
    await stream.start(head.encode())
    return stream
