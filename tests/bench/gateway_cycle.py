"""Time that the gateway adds: create, attach, wait, start, end with --rm, and exec, against doubles in another process.

Run: PYTHONPATH=services:tests python tests/bench/gateway_cycle.py [count]
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from gateway_doubles.engine import doubles
from gateway_doubles.raw import ask, head, hijack, request


async def serve_doubles() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "networks", "logs", "containers"):
            await stack.enter_async_context(made.serve(name))
        sys.stdout.write(made.run + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def keep_alive(socket: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(socket)


async def plain(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], method: str, path: str, body: bytes = b"") -> bytes:
    reader, writer = connection
    writer.write(request(method, path, body, Content_Type="application/json"))
    status, headers = await head(reader)
    assert status < 400, (status, path)
    return await reader.readexactly(int(headers.get("content-length", "0")))


async def cycle(socket: str, times: dict[str, list[float]]) -> None:
    """What `docker run --rm busybox echo hi` asks for."""
    marks = [time.perf_counter()]
    connection = await keep_alive(socket)
    body = json.dumps({"Image": "busybox", "Cmd": ["echo", "hi"], "HostConfig": {"AutoRemove": True}}).encode()
    one = json.loads(await plain(connection, "POST", "/v1.50/containers/create", body))["Id"]
    marks.append(time.perf_counter())
    reader, writer, _ = await hijack(socket, f"/v1.50/containers/{one}/attach?stream=1&stdout=1&stderr=1")
    writer.write_eof()
    waiting, waiter = await keep_alive(socket)
    waiter.write(request("POST", f"/v1.50/containers/{one}/wait?condition=removed", Connection="close"))
    await head(waiting)
    marks.append(time.perf_counter())
    await plain(connection, "POST", f"/v1.50/containers/{one}/start")
    marks.append(time.perf_counter())
    await reader.read()
    await waiting.read()
    marks.append(time.perf_counter())
    for name, begin, end in zip(("create", "attach+wait", "start", "end"), marks, marks[1:], strict=False):
        times.setdefault(name, []).append((end - begin) * 1000)
    times.setdefault("all", []).append((marks[-1] - marks[0]) * 1000)
    for each in (writer, waiter, connection[1]):
        each.close()


async def measure(run: str, count: int) -> None:
    socket = f"{run}/docker.sock"
    for _ in range(100):
        if os.path.exists(socket):
            break
        await asyncio.sleep(0.1)
    times: dict[str, list[float]] = {}
    for _ in range(5):
        await cycle(socket, {})
    for _ in range(count):
        await cycle(socket, times)
    for name, values in times.items():
        sys.stdout.write(f"{name:12} median {statistics.median(values):6.2f} ms  p90 {sorted(values)[int(len(values) * 0.9)]:6.2f} ms\n")
    begun = time.perf_counter()
    await asyncio.gather(*(cycle(socket, {}) for _ in range(count)))
    sys.stdout.write(f"{count} at once: {(time.perf_counter() - begun) / count * 1000:.2f} ms each\n")
    body = {"Image": "busybox", "Cmd": ["bytes", str(256 << 20)], "HostConfig": {"AutoRemove": True}}
    one = (await ask(socket, "POST", "/containers/create", body)).json()["Id"]
    reader, writer, _ = await hijack(socket, f"/containers/{one}/attach?stream=1&stdout=1")
    begun, total = time.perf_counter(), 0
    await ask(socket, "POST", f"/containers/{one}/start")
    while piece := await reader.read(1 << 20):
        total += len(piece)
    sys.stdout.write(f"attach: {total / (time.perf_counter() - begun) / 1e6:.0f} MB/s\n")
    writer.close()


def main() -> None:
    if sys.argv[1:] == ["doubles"]:
        uvloop.run(serve_doubles())
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    source = subprocess.Popen([sys.executable, __file__, "doubles"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert source.stdin is not None
    assert source.stdout is not None
    run = source.stdout.readline().strip()
    environment = {**os.environ, "SKERRY_RUN": run, "SKERRY_ROOT": run}
    gateway = subprocess.Popen([sys.executable, "-m", "skerry.gateway"], env=environment)
    try:
        uvloop.run(measure(run, count))
        status = Path(f"/proc/{gateway.pid}/status").read_text()
        sys.stdout.write(next(line for line in status.splitlines() if line.startswith("VmRSS")) + "\n")
    finally:
        gateway.terminate()
        gateway.wait(10)
        source.stdin.close()
        source.wait(10)


if __name__ == "__main__":
    main()
