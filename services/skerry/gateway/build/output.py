"""What a build says: Docker's stream of JSON objects, or with -q the image's id and nothing else."""

import codecs
from collections import deque
from typing import Any

import msgspec
from aiohttp import web

from skerry.gateway.call import Call, streaming
from skerry.gateway.errors import status_of

_RED, _PLAIN = "\x1b[91m", "\x1b[0m"
# What a quiet build keeps for the case that it fails.
_KEPT = 4 << 20


class StepFailed(Exception):
    """A RUN ended with another code than 0."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Output:
    """The answer of one build. Its head goes out with the first object, so that an error before it has a status of its own."""

    def __init__(self, call: Call, *, quiet: bool, aux: bool) -> None:
        self._call = call
        self._quiet = quiet
        self._aux = aux
        self._response: web.StreamResponse | None = None
        self._held: deque[bytes] = deque()
        self._size = 0

    async def say(self, text: str) -> None:
        """Writes a piece of the log."""
        await self._object({"stream": text})

    async def line(self, text: str) -> None:
        """Writes a line of the log."""
        await self.say(f"{text}\n")

    async def step(self, number: int, total: int, code: str) -> None:
        """Announces a step."""
        await self.say(f"Step {number}/{total} : {_shown(code)}")
        await self.say("\n")

    async def warn(self, text: str) -> None:
        """Writes to the client's stderr."""
        await self.say(f"{_RED}{text}\n{_PLAIN}")

    async def image(self, image_id: str) -> None:
        """Tells the id of a finished stage."""
        if self._aux and not self._quiet:
            await self._object({"aux": {"ID": image_id}})

    async def progress(self, document: dict[str, Any]) -> None:
        """Passes on one object of a pull or a download."""
        await self._object(document)

    async def _object(self, document: dict[str, Any]) -> None:
        data = msgspec.json.encode(document) + b"\r\n"
        if not self._quiet:
            await self._send(data)
            return
        self._held.append(data)
        self._size += len(data)
        while self._size > _KEPT:
            self._size -= len(self._held.popleft())

    async def _send(self, data: bytes) -> None:
        if self._response is None:
            self._response = await streaming(self._call)
        await self._response.write(data)

    async def fail(self, error: Exception) -> web.StreamResponse:
        """Ends the stream with the error; raises it when nothing was sent yet."""
        for data in self._held:
            await self._send(data)
        if self._response is None and not isinstance(error, StepFailed):
            raise error
        text = str(error) if isinstance(error, StepFailed) else status_of(error)[1]
        detail: dict[str, Any] = {"code": error.code} if isinstance(error, StepFailed) else {}
        detail["message"] = _shown(text)
        await self._send(msgspec.json.encode({"errorDetail": detail, "error": _shown(text)}) + b"\r\n")
        return await self._end()

    async def finish(self, image_id: str) -> web.StreamResponse:
        """Ends the stream of a build that made this image."""
        if self._quiet:
            await self._send(msgspec.json.encode({"stream": f"{image_id}\n"}) + b"\r\n")
        return await self._end()

    async def _end(self) -> web.StreamResponse:
        if self._response is None:
            self._response = await streaming(self._call)
        await self._response.write_eof()
        return self._response


class Frames:
    """Takes a container's multiplexed output (8-byte heads) and says it: stderr in red."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._buffer = bytearray()
        self._decoders = {number: codecs.getincrementaldecoder("utf-8")("replace") for number in (1, 2)}

    async def write(self, data: bytes) -> None:
        """Takes a piece."""
        self._buffer += data
        while len(self._buffer) >= 8:
            end = 8 + int.from_bytes(self._buffer[4:8], "big")
            if len(self._buffer) < end:
                return
            number, body = self._buffer[0], bytes(self._buffer[8:end])
            del self._buffer[:end]
            await self._say(number, self._decoders[2 if number == 2 else 1].decode(body))

    async def finish(self) -> None:
        """Says what is left of a text that ended within a character."""
        for number, decoder in self._decoders.items():
            await self._say(number, decoder.decode(b"", final=True))

    async def _say(self, number: int, text: str) -> None:
        if text:
            await self._output.say(f"{_RED}{text}{_PLAIN}" if number == 2 else text)


def _shown(text: str) -> str:
    """Returns text that is fit for JSON: bytes that are no UTF-8 become U+FFFD, as in Go."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
