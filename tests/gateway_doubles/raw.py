"""Plain HTTP over the unix socket: what a client library would hide."""

import asyncio
import json
import struct
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json()["message"])


async def head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {}
    for line in raw[1:]:
        if line:
            key, _, value = line.partition(": ")
            headers[key.lower()] = value
    return int(raw[0].split(" ")[1]), headers


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: api.moby.localhost", f"Content-Length: {len(body)}"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(socket: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """One request on a connection of its own."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    if raw and "Content_Type" not in headers:
        headers["Content_Type"] = "application/json"
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        async with asyncio.timeout(20):
            writer.write(request(method, path, raw, Connection="close", **headers))
            status, answered = await head(reader)
            content = b"" if method == "HEAD" or status == 304 else await reader.read()
    finally:
        writer.close()
    if answered.get("transfer-encoding") == "chunked":
        content = unchunk(content)
    return Answer(status, answered, content)


def unchunk(raw: bytes) -> bytes:
    out = b""
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return out
        out += rest[:length]
        raw = rest[length + 2 :]
    raise AssertionError("the chunked body was cut off")


async def hijack(socket: str, path: str, body: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter, dict[str, str]]:
    """Asks for an upgrade as the docker CLI does; returns the raw connection."""
    reader, writer = await asyncio.open_unix_connection(socket)
    kind = {"Content_Type": "application/json"} if body else {}
    writer.write(request("POST", path, body, Connection="Upgrade", Upgrade="tcp", **kind))
    status, headers = await head(reader)
    assert status == 101, await reader.read(500)
    return reader, writer, headers


def frames(raw: bytes) -> list[tuple[int, bytes]]:
    """Takes multiplexed output apart."""
    result = []
    while raw:
        stream, length = struct.unpack(">B3xI", raw[:8])
        assert len(raw) >= 8 + length
        result.append((stream, raw[8 : 8 + length]))
        raw = raw[8 + length :]
    return result
