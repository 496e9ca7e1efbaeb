"""How plugins are found, and what a client makes of their answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from skerry.containers.plugins import directory
from skerry.containers.plugins.client import Away, Client
from skerry.core.errors import Failed, NotFound

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _place(base: Path, *paths: str) -> None:
    for path in paths:
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text("unix:///x.sock")


def test_names_come_from_sockets_and_files_alone_or_in_a_directory_of_their_own(tmp_path: Path) -> None:
    _place(
        tmp_path, "run/a.sock", "run/b/b.sock", "run/c/other.sock", "run/d.txt", "etc/e.spec", "etc/f.json", "lib/g/g.spec", "lib/a.spec"
    )
    specs = [str(tmp_path / "etc"), str(tmp_path / "lib"), str(tmp_path / "missing")]
    assert directory.names(str(tmp_path / "run"), specs) == ["a", "b", "e", "f", "g"]


@pytest.mark.parametrize("name", ["", "..", "../a", "a/b", ".hidden", "a\0", "nosuch", "empty"])
def test_what_is_no_plugin(tmp_path: Path, name: str) -> None:
    _place(tmp_path, "run/a.sock", "etc/empty.spec")
    (tmp_path / "etc/empty.spec").write_text(" \n")
    with pytest.raises(NotFound, match="not found"):
        directory.find(name, str(tmp_path / "run"), [str(tmp_path / "etc")])


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("x.spec", "gopher://host", "unknown protocol"),
        ("x.json", "{", "x.json"),
        ("x.json", "[]", "x.json"),
        ("x.json", '{"Name": "x"}', "x.json"),
        ("x.json", '{"Addr": "https://h", "TLSConfig": {"CAFile": "/nowhere"}}', "x.json"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, file: str, content: str, text: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(Failed, match=text):
        directory.find("x", str(tmp_path / "run"), [str(tmp_path)])


@asynccontextmanager
async def _server(path: Path, answer: bytes) -> AsyncIterator[Client]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        yield Client(f"unix://{path}")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"A": 12}', {"A": 12}),
        (b'HTTP/1.0 200 OK\r\n\r\n{"A": 12}', {"A": 12}),
        (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{"A"\r\n5;x=y\r\n: 12}\r\n0\r\n\r\n', {"A": 12}),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {}),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"Err":""}', {"Err": ""}),
    ],
)
async def test_answers(tmp_path: Path, answer: bytes, wanted: dict[str, object]) -> None:
    async with _server(tmp_path / "s", answer) as client:
        assert await client.call("X.Y", {}, timeout=5) == wanted


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"Err": "sad"}', "^sad$"),
        (b'HTTP/1.1 500 No\r\n\r\n{"Err": "very sad"}', "^X.Y: very sad"),
        (b"HTTP/1.1 404 No\r\n\r\nplain", "^X.Y: plain"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", '^Post "http://.*/X.Y": EOF'),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "too long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "invalid literal"),
        (b"SSH-2.0\r\n\r\n", "malformed HTTP response"),
        (b"", "EOF"),
        (b"x" * 100_000, "Post"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "invalid character"),
    ],
)
async def test_answers_that_are_errors(tmp_path: Path, answer: bytes, text: str) -> None:
    async with _server(tmp_path / "s", answer) as client:
        with pytest.raises(Failed, match=text):
            await client.call("X.Y", {}, timeout=5)


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Away, match=r'^Post "http://%2F.*%2Fnone.sock/X.Y": dial unix .*none.sock: connect: no such file or directory'):
        await Client(f"unix://{tmp_path}/none.sock").call("X.Y", None, timeout=1)


async def test_one_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    calling = asyncio.ensure_future(Client(f"unix://{tmp_path}/s").call("X.Y", None, timeout=5, patience=10))
    await asyncio.sleep(0.1)
    async with _server(tmp_path / "s", b"HTTP/1.1 200 OK\r\n\r\n{}"):
        assert await calling == {}
