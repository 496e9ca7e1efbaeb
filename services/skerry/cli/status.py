"""`skerry status`: what runs on this machine, asked from the services themselves."""

import asyncio
import importlib.metadata
import sys
import time
from typing import Any

import grpc.aio
import msgspec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from skerry.cli.parts import SERVICES, Places
from skerry.cli.processes import Process
from skerry.cli.supervisor import Entry, read_state
from skerry.core.rpc.channel import open_channel

_TIMEOUT = 2.0


class Row(msgspec.Struct):
    """One part of the engine as shown. memory is the proportional set size in bytes; uptime is in seconds."""

    service: str
    address: str
    state: str
    version: str
    pid: int
    uptime: float
    restarts: int
    memory: int


def version() -> str:
    """Returns the installed version of Skerry."""
    try:
        return importlib.metadata.version("skerry")
    except importlib.metadata.PackageNotFoundError:
        return "source"


def memory_of(pid: int) -> int:
    """Returns a process's proportional set size in bytes; 0 when it has gone or may not be looked at."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


async def _health(address: str) -> str:
    try:
        async with open_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        return f"not answering ({error.code().name.lower()})"
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status).lower().replace("_", " ")


async def rows(where: Places) -> list[Row]:
    """Returns the supervisor, the keeper and every service, whether running or not."""
    state = read_state(where)

    async def one(name: str, entry: Entry | None) -> Row:
        address = f"unix:{where.run}/{name}.sock"
        if entry is None or not Process(entry.pid, entry.started).alive():
            return Row(name, address, "not running", "", 0, 0.0, entry.restarts if entry else 0, 0)
        said = "running" if name == "keeper" else await _health(address)
        return Row(name, address, said, version(), entry.pid, time.time() - entry.since, entry.restarts, memory_of(entry.pid))

    found = list(await asyncio.gather(*(one(name, state.parts.get(name)) for name in (*SERVICES, "keeper"))))
    alive = memory_of(state.supervisor) > 0
    found.insert(
        0, Row("supervisor", where.docker_socket, "running" if alive else "not running", version() if alive else "",
               state.supervisor if alive else 0, 0.0, 0, memory_of(state.supervisor))
    )  # fmt: skip
    return found


def show(where: Places, *, as_json: bool) -> int:
    """Prints the table, or JSON for programs. Returns 0 when everything serves, 1 otherwise."""
    found = asyncio.run(rows(where))
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _table(found)
    return 0 if all(row.state in ("serving", "running") for row in found) else 1


def _table(found: list[Row]) -> None:
    lines = [("SERVICE", "STATE", "VERSION", "PID", "UPTIME", "RESTARTS", "MEMORY", "ADDRESS")]
    for row in found:
        up = f"{row.uptime:.0f}s" if row.uptime else "-"
        memory = f"{row.memory / 2**20:.1f} MiB" if row.memory else "-"
        lines.append((row.service, row.state, row.version or "-", str(row.pid or "-"), up, str(row.restarts), memory, row.address))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
