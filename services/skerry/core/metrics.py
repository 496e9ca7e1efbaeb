"""Prometheus metrics of one process, answered on a small socket of their own."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from skerry.core.errors import InvalidArgument

__all__ = ["Counter", "Gauge", "Histogram", "serving_metrics"]


@asynccontextmanager
async def serving_metrics(address: str) -> AsyncIterator[None]:
    """Answers GET /metrics at "unix:PATH" or "HOST:PORT"; empty: nowhere. Any other path is 404."""
    if not address:
        yield
        return
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path):
            os.unlink(path)
        server = await asyncio.start_unix_server(_answer, path)
        os.chmod(path, 0o660)
    else:
        host, _, port = address.rpartition(":")
        if not port.isdigit():
            raise InvalidArgument(f"metrics address {address!r}: want unix:PATH or HOST:PORT")
        server = await asyncio.start_server(_answer, host or "127.0.0.1", int(port))
    async with server:
        yield


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ", 2)[1].partition(b"?")[0] == b"/metrics":
                body = generate_latest()
                status = f"200 OK\r\nContent-Type: {CONTENT_TYPE_LATEST}"
            else:
                body, status = b"404 page not found\n", "404 Not Found\r\nContent-Type: text/plain"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
    except (OSError, TimeoutError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # a scraper that went away or sent nonsense
    finally:
        writer.close()
