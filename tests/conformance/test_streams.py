"""attach by several clients, over websockets, with a replay; execs at once; clients that read slowly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers


@contextlib.asynccontextmanager
async def websocket(engine: Engine, name: str, query: str = "stream=1&stdin=1&stdout=1&stderr=1") -> AsyncIterator[Any]:
    connector = aiohttp.UnixConnector(engine.socket)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.timeout(30):
        url = f"http://localhost/{engine.api}/containers/{name}/attach/ws?{query}"
        async with session.ws_connect(url, headers={"Origin": "http://localhost"}) as one:
            yield one


async def received(one: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        message = await one.receive()
        assert message.type is aiohttp.WSMsgType.BINARY, (message, data)
        data += message.data
    return data


async def closed(one: Any) -> None:
    while (message := await one.receive()).type is aiohttp.WSMsgType.BINARY:
        pass
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


def attached(engine: Engine, name: str, count: int = 1) -> None:
    """Waits until so many clients have joined."""

    def joined() -> bool:
        said = engine.docker("events", "--since", "0", "--until", "0s", "-f", f"container={name}", "-f", "event=attach").stdout
        return said.count("attach") >= count

    wait_until(joined, f"{count} clients are attached")


def archive_status(engine: Engine, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return engine.request(method, f"/{engine.api}{path}", body)


async def test_a_websocket_carries_both_directions_without_headers(engine: Engine, name: str) -> None:
    engine.docker("run", "-di", "--name", name, "busybox", "sh", "-c", "cat; exit 3")
    async with websocket(engine, name) as one:
        await one.send_bytes(b"bytes\n")
        assert await received(one, 6) == b"bytes\n"
        await one.send_str("text\n")
        assert await received(one, 5) == b"text\n"
    # Its leaving detaches; the next one goes on.
    data = bytes(range(256)) * 1024
    async with websocket(engine, name) as one:

        async def feed() -> None:
            for at in range(0, len(data), 10_000):
                await one.send_bytes(data[at : at + 10_000])

        _, got = await asyncio.gather(feed(), received(one, len(data)))
        assert got == data
    assert engine.out("inspect", "-f", "{{.State.Running}}", name) == "true"


async def test_a_websocket_ends_with_the_container(engine: Engine, name: str) -> None:
    engine.docker("run", "-di", "--name", name, "busybox", "sh", "-c", "read x; echo out $x; echo err >&2")
    async with websocket(engine, name) as one:
        await one.send_bytes(b"1\n")
        assert sorted((await received(one, 10)).split()) == [b"1", b"err", b"out"]
        await closed(one)
    wait_until(lambda: engine.out("inspect", "-f", "{{.State.Running}}", name) == "false", "it has ended")


async def test_a_websocket_on_a_terminal_has_detach_keys(engine: Engine, name: str) -> None:
    engine.docker("run", "-dit", "--name", name, "busybox", "cat")
    async with websocket(engine, name, "stream=1&stdin=1&stdout=1&detachKeys=ctrl-x") as one:
        await one.send_bytes(b"hi\n")
        assert (await received(one, 8)).startswith(b"hi\r\nhi\r\n")
        await one.send_bytes(b"\x18")
        await closed(one)
    assert engine.out("inspect", "-f", "{{.State.Running}}", name) == "true"


def test_websockets_that_cannot_be(engine: Engine, name: str) -> None:
    assert archive_status(engine, "GET", "/containers/nosuch/attach/ws?stream=1")[0] == 404
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    assert archive_status(engine, "GET", f"/containers/{name}/attach/ws?stream=1&detachKeys=zz")[0] == 400
    assert archive_status(engine, "GET", f"/containers/{name}/attach/ws?stream=1")[0] in (400, 500)
