"""Calls to one plugin by Docker's plugin protocol: POST of JSON over HTTP/1.1, one connection per call. Texts are those Docker shows."""

import asyncio
import errno
import json
import os
import ssl
import urllib.parse
from typing import Any

from skerry.core.errors import Failed

_MEDIA_TYPE = "application/vnd.docker.plugins.v1.2+json"
# An answer lists volumes at most.
_LONGEST_ANSWER = 64 << 20
_LONGEST_HEAD = 64 << 10
_FIRST_PAUSE = 1.0


class Away(Failed):
    """Nobody answers there, or not in time."""


class Client:
    """One plugin's address: unix:///PATH, tcp://HOST:PORT, http(s)://HOST:PORT."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        url = urllib.parse.urlsplit(address)
        self._path = url.path if url.scheme == "unix" else ""
        self._host, self._port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        self._tls = tls
        place = urllib.parse.quote(self._path, safe="") if self._path else url.netloc
        self._base = f"{'https' if tls is not None else 'http'}://{place}"

    async def call(self, method: str, body: Any, *, timeout: float, patience: float = 0.0) -> dict[str, Any]:
        """Returns the answer. A plugin to which no connection can be made is tried again, at growing distances, for patience seconds.

        A call that may have reached the plugin is not repeated. Raises Away; Failed with what the plugin said.
        """
        data = b"" if body is None else json.dumps(body).encode() + b"\n"
        reader, writer = await self._patiently(method, timeout, patience)
        try:
            async with asyncio.timeout(timeout):
                status, answer = await self._exchange(reader, writer, method, data)
        except TimeoutError:
            raise Away(self._text(method, "context deadline exceeded")) from None
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Away(self._text(method, "EOF" if isinstance(error, EOFError) else str(error))) from None
        finally:
            writer.close()
        return _answer(method, status, answer)

    async def _patiently(self, method: str, timeout: float, patience: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        pause, deadline = _FIRST_PAUSE, loop.time() + patience
        while True:
            try:
                async with asyncio.timeout(timeout):
                    return await self._connect(method)
            except TimeoutError:
                raise Away(self._text(method, "context deadline exceeded")) from None
            except Away:
                if loop.time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause *= 2

    async def _connect(self, method: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            if self._path:
                return await asyncio.open_unix_connection(self._path, limit=_LONGEST_HEAD)
            return await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=_LONGEST_HEAD)
        except ssl.SSLError as error:
            raise Away(self._text(method, f"tls: {error.reason}")) from None
        except OSError as error:
            where = f"unix {self._path}" if self._path else f"tcp {self._host}:{self._port}"
            reason = os.strerror(error.errno).lower() if error.errno and error.errno in errno.errorcode else str(error)
            raise Away(self._text(method, f"dial {where}: connect: {reason}")) from None

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, data: bytes) -> tuple[int, bytes]:
        # Plugins of Go's library do not care for the host's name, but HTTP wants one.
        head = (
            f"POST /{method} HTTP/1.1\r\nHost: {self._host or 'plugin'}\r\nAccept: {_MEDIA_TYPE}\r\n"
            f"Content-Type: {_MEDIA_TYPE}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("ascii") + data)
        await writer.drain()
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(f"malformed HTTP response {status_line[:80]!r}")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return int(rest[:3]), await _chunks(reader)
        if "content-length" in headers:
            return int(rest[:3]), await reader.readexactly(_limited(int(headers["content-length"])))
        return int(rest[:3]), await reader.read(_LONGEST_ANSWER)

    def _text(self, method: str, reason: str) -> str:
        return f'Post "{self._base}/{method}": {reason}'


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    whole = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        whole += await reader.readexactly(_limited(len(whole) + size) - len(whole))
        await reader.readexactly(2)
    return whole


def _limited(size: int) -> int:
    if not 0 <= size <= _LONGEST_ANSWER:
        raise ValueError(f"the answer is too long: {size}")
    return size


def _answer(method: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body) if body.strip() else {}
    except ValueError as error:
        answer = None if status != 200 else {"Err": f"invalid character in the plugin's answer: {error}"}
    told = answer.get("Err") if isinstance(answer, dict) else None
    if status != 200:
        raise Failed(f"{method}: {told or body.decode('utf-8', 'replace')}")
    if told:
        raise Failed(str(told))
    return answer if isinstance(answer, dict) else {}
