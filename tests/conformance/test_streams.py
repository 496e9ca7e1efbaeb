"""attach by several clients, over websockets, with a replay; execs at once; clients that read slowly."""

import asyncio
import contextlib
import signal
import struct
import subprocess
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import pytest

from engines import Engine, UnixConnection

from .client import client
from .terminal import terminal
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


def api(engine: Engine, method: str, path: str, body: Any = None) -> tuple[int, Any]:
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
    assert api(engine, "GET", "/containers/nosuch/attach/ws?stream=1")[0] == 404
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    assert api(engine, "GET", f"/containers/{name}/attach/ws?stream=1&detachKeys=zz")[0] == 400
    assert api(engine, "GET", f"/containers/{name}/attach/ws?stream=1")[0] in (400, 500)


def raw(engine: Engine, path: str) -> bytes:
    """Returns all that a hijacked request gives."""
    connection = UnixConnection(engine.socket, 20)
    connection.connect()
    with connection.sock as sock:
        sock.sendall(f"POST /{engine.api}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2]


def streams(data: bytes) -> tuple[bytes, bytes]:
    """Takes Docker's frames apart: stdout and stderr."""
    parts, at = {1: b"", 2: b""}, 0
    while at < len(data):
        stream, size = struct.unpack_from(">BxxxI", data, at)
        parts[stream] += data[at + 8 : at + 8 + size]
        at += 8 + size
    return parts[1], parts[2]


def test_a_replay_comes_before_what_is_followed(engine: Engine, name: str) -> None:
    script = "echo old; echo err >&2; while [ ! -e /go ]; do sleep 0.05; done; echo new"
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script)
    wait_until(lambda: engine.docker("logs", name).stdout == "old\n", "the log has it")
    assert streams(raw(engine, f"/containers/{name}/attach?logs=1&stdout=1&stderr=1")) == (b"old\n", b"err\n")
    assert streams(raw(engine, f"/containers/{name}/attach?logs=1&stdout=1")) == (b"old\n", b"")
    assert raw(engine, f"/containers/{name}/attach?stdout=1&stderr=1") == b""
    with ThreadPoolExecutor() as pool:
        followed = pool.submit(raw, engine, f"/containers/{name}/attach?logs=1&stream=1&stdout=1&stderr=1")
        later = pool.submit(raw, engine, f"/containers/{name}/attach?stream=1&stdout=1&stderr=1")
        attached(engine, name, 4)
        engine.docker("exec", name, "touch", "/go")
        assert streams(followed.result(20)) == (b"old\nnew\n", b"err\n")
        assert streams(later.result(20)) == (b"new\n", b"")
    assert streams(raw(engine, f"/containers/{name}/attach?logs=1&stdout=1&stderr=1")) == (b"old\nnew\n", b"err\n")


@covers("attach", "attach --no-stdin")
def test_several_clients_see_all_and_each_with_stdin_may_write(engine: Engine, name: str) -> None:
    engine.docker("run", "-di", "--name", name, "busybox", "sh", "-c", "while read x; do echo got $x; [ $x != end ] || exit 5; done")
    argv = ["docker", "attach", "--sig-proxy=false", name]
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(client(argv, engine.environ(), stdin=subprocess.PIPE)) for _ in range(2))
        silent = stack.enter_context(client([*argv[:2], "--no-stdin", *argv[2:]], engine.environ(), stdin=subprocess.PIPE))
        clients = (first, second, silent)
        attached(engine, name, 3)
        assert silent.stdin is not None
        silent.stdin.write(b"not read\n")
        silent.stdin.close()
        for one, word in ((first, b"a"), (second, b"b"), (first, b"end")):
            assert one.stdin is not None
            one.stdin.write(word + b"\n")
            one.stdin.flush()
            for each in clients:
                assert each.stdout is not None and each.stdout.readline() == b"got " + word + b"\n"
        assert [each.wait(20) for each in clients] == [5, 5, 5]


@covers("attach --sig-proxy")
@pytest.mark.parametrize("proxy", [True, False])
def test_signals_of_an_attached_client(engine: Engine, name: str, proxy: bool) -> None:
    script = "trap 'echo got; exit 9' USR1; while [ ! -e /go ]; do sleep 0.05; done; exit 4"
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script)
    with client(["docker", "attach", "--no-stdin", f"--sig-proxy={str(proxy).lower()}", name], engine.environ()) as process:
        attached(engine, name)
        process.send_signal(signal.SIGUSR1)
        if not proxy:
            time.sleep(0.3)
            engine.docker("exec", name, "touch", "/go")
        assert process.wait(20) == (9 if proxy else 4)
        assert process.stdout is not None and process.stdout.read() == (b"got\n" if proxy else b"")


@covers("attach --detach-keys")
def test_detach_keys_that_come_in_pieces_and_keys_that_only_begin_like_them(engine: Engine, name: str) -> None:
    engine.docker("run", "-dit", "--name", name, "busybox", "cat")
    with terminal(["docker", "attach", "--detach-keys", "a,b,c", name], engine.environ()) as screen:
        screen.type(b"abx\n")
        screen.expect("abx\r\nabx\r\n")
        for key in (b"a", b"b", b"c"):
            screen.type(key)
            time.sleep(0.05)
        screen.wait()
    assert engine.out("inspect", "-f", "{{.State.Running}}", name) == "true"


RANDOM = "dd if=/dev/urandom of=/f bs=1M count=%d 2>/dev/null; sha256sum /f >&2; cat /f"


def slowly(engine: Engine, driver: str, megabytes: int, seconds: float) -> None:
    """A client that begins to read after some time gets all that the container writes, bit for bit."""
    argv = ["docker", "run", "--rm", "--log-driver", driver, "busybox", "sh", "-c", RANDOM % megabytes]
    reader = f"{' '.join(argv[:6])} sh -c '{RANDOM % megabytes}' | (sleep {seconds}; sha256sum)"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", reader], env=engine.environ(), capture_output=True, timeout=600, check=True)
    assert done.stdout.split()[0] == done.stderr.split()[0]


@pytest.mark.parametrize("driver", ["json-file", "none"])
def test_a_client_attached_before_the_start_misses_nothing(engine: Engine, driver: str) -> None:
    slowly(engine, driver, 150, 3)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("driver", ["json-file", "none"])
def test_a_client_attached_before_the_start_misses_nothing_of_a_gigabyte(engine: Engine, driver: str) -> None:
    slowly(engine, driver, 1000, 20)
