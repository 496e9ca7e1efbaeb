"""GET /containers/{id}/attach/ws: a container's streams over a websocket, as bytes without Docker's headers."""

import asyncio
import struct

from aiohttp import WSMsgType, web

from skerry.core.errors import InvalidArgument
from skerry.gateway.beside import beside
from skerry.gateway.call import Call, Route
from skerry.gateway.pump import Pump
from skerry.gateway.routes.attach import join
from skerry.gateway.versions import WEBSOCKET_STREAMS

_HEADER = struct.Struct(">BxxxI")
_CLOSE_SECONDS = 2.0
_MESSAGE_LIMIT = 4 << 20


class _Socket:
    """A websocket as the pump's client. Messages carry input and output; their limits mean nothing."""

    def __init__(self, socket: web.WebSocketResponse, *, tty: bool) -> None:
        self._socket = socket
        self._tty = tty
        self.gone = asyncio.Event()

    async def read(self) -> bytes:
        """Returns the next message that is not empty; b"" when the client closed the socket, or breaks the protocol."""
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                data: bytes = message.data
            elif message.type is WSMsgType.TEXT:
                data = message.data.encode()
            else:
                self.gone.set()
                return b""
            if data:
                return data

    async def write(self, data: bytes) -> None:
        """Sends output. Raises ConnectionError."""
        if self._socket.closed:
            raise ConnectionResetError("client went away")
        await self._socket.send_bytes(data if self._tty else unframed(data))


def unframed(data: bytes) -> bytes:
    """Returns the payloads of whole frames."""
    view, parts, at = memoryview(data), [], 0
    while at < len(data):
        _, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        parts.append(view[at : at + length])
        at += length
    return b"".join(parts)


async def attach(call: Call) -> web.StreamResponse:
    """Joins the container's streams. Below API 1.42 it joins all of them, whatever is asked for, as Docker does."""
    joined = await join(call, everything=call.version < WEBSOCKET_STREAMS)
    socket = web.WebSocketResponse(timeout=_CLOSE_SECONDS, compress=False, max_msg_size=_MESSAGE_LIMIT)
    if not socket.can_prepare(call.request):
        raise InvalidArgument("not websocket protocol")
    pump = Pump(joined.session, joined.resume_at)
    with call.peers.stream():
        try:
            with joined.joining(call.peers):
                await pump.begin()
                call.begun = True
                await socket.prepare(call.request)
                client = _Socket(socket, tty=pump.tty)
                once = joined.container.spec.stdin_once
                await joined.before(call.peers, pump, client)
                running = pump.run(client, stdin=joined.stdin, once=once, detach_keys=joined.detach_keys)
                async with beside(running) as pumping, beside(_left(client, reads=not joined.stdin)) as left:
                    await asyncio.wait({pumping, left}, return_when=asyncio.FIRST_COMPLETED)
                    if pumping.done():
                        pumping.result()
            await socket.close()
        finally:
            pump.cancel()
    return socket


async def _left(client: _Socket, *, reads: bool) -> None:
    """Waits until the client has gone. reads: nobody else reads what it sends."""
    while reads and await client.read():
        pass
    await client.gone.wait()
    # The end of its input is still on the way to the process.
    await asyncio.sleep(_CLOSE_SECONDS / 10)


ROUTES: list[Route] = [("GET", "/containers/{id}/attach/ws", attach)]
