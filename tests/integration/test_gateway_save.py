"""Saving through the gateway: file pieces go out whole, by sendfile, whatever the client's pace; what breaks is seen to be broken."""

import asyncio
import http.client
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engines import UnixConnection
from gateway_doubles.engine import Engine, engine
from gateway_doubles.raw import ask


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Engine]:
    async with engine() as made:
        yield made


def got(path: str, connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.getheader("Content-Type") == "application/x-tar"
    return int(response.getheader("Content-Length") or 0), response.read()


async def test_files_and_bytes_go_out_in_order_and_the_connection_stays(running: Engine, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 20
    (tmp_path / "layer").write_bytes(content)
    running.images.saved_file = str(tmp_path / "layer")
    connection = UnixConnection(running.socket, 20)
    for path in ("/images/get?names=busybox", "/images/busybox/get", "/v1.41/images/get?names=busybox"):
        length, body = await asyncio.to_thread(got, path, connection)
        assert length == len(body) and body == b"head" + content + b"tail"
    connection.close()


async def test_a_client_that_reads_slowly_gets_all(running: Engine, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 3
    (tmp_path / "layer").write_bytes(content)
    running.images.saved_file = str(tmp_path / "layer")
    reader, writer = await asyncio.open_unix_connection(running.socket, limit=1 << 16)
    writer.write(b"GET /images/get?names=busybox HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await asyncio.sleep(0.5)
    assert (await ask(running.socket, "GET", "/_ping")).status == 200
    answer = await reader.read(1 << 16)
    for _ in range(5):
        await asyncio.sleep(0.1)
        answer += await reader.read(1 << 16)
    answer += await reader.read()
    assert answer.partition(b"\r\n\r\n")[2] == b"head" + content + b"tail"
    writer.close()


async def test_bytes_are_asked_for_where_the_files_are_not_ours(running: Engine) -> None:
    answer = await ask(running.socket, "GET", "/images/get?names=busybox")
    assert (answer.status, answer.body) == (200, b"headbodytail")


async def test_an_error_in_the_middle_cuts_the_answer_off(running: Engine, tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(b"content")
    running.images.saved_file = str(tmp_path / "layer")
    running.images.save_breaks = True
    connection = UnixConnection(running.socket, 20)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        await asyncio.to_thread(got, "/images/get?names=busybox", connection)
    connection.close()
    assert (await ask(running.socket, "GET", "/images/get?names=busybox&names=nope")).status == 404


async def test_a_client_that_leaves_ends_its_save(running: Engine, tmp_path: Path) -> None:
    with open(tmp_path / "layer", "wb") as file:
        file.truncate(200 << 20)
    running.images.saved_file = str(tmp_path / "layer")
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(running.socket)
            client.sendall(b"GET /images/get?names=busybox HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.to_thread(client.recv, 1000)
    assert (await ask(running.socket, "GET", "/_ping")).status == 200
