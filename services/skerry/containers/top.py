"""`docker top`: ps(1) of the host, its lines filtered by the container's processes."""

import os
import re
from collections.abc import Collection

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.cgroup import processes
from skerry.containers.container import Container
from skerry.containers.state import Phase
from skerry.core import process
from skerry.core.errors import Conflict, Failed, InvalidArgument

# Docker's rule: a column renamed to or from PID would defeat the filter.
_RENAMED_PID = re.compile(r"\s+([^\s]*)=\s*(PID[^\s]*)")
_LONGEST = 4096
_SECONDS = 20


async def top(container: Container, ps_args: str) -> pb.TopResponse:
    """Runs ps and picks the container's rows. Raises Conflict when it does not run, InvalidArgument and Failed in Docker's words."""
    if container.state.phase is Phase.RESTARTING:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if not container.state.active:
        raise Conflict(f"Container {container.id} is not running")
    ps_args = ps_args or "-ef"
    if len(ps_args) > _LONGEST or "\0" in ps_args:
        raise InvalidArgument("invalid ps arguments")
    if (renamed := _RENAMED_PID.search(" " + ps_args)) and renamed[1].lower() != "pid":
        raise InvalidArgument(f'specifying "{renamed[1]}={renamed[2]}" is not allowed')
    pids = processes(container.cgroup)
    response = parse(await _ps(ps_args.split(), pids), pids)
    await container.publish("top")
    return response


def _environ() -> dict[str, str]:
    # The lines of whoever started the engine may have been short.
    return {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "PS_FORMAT")}


async def _ps(arguments: list[str], pids: Collection[int]) -> str:
    # With the processes named, `ps -o pid,comm` shows them too, and not only those of this terminal. Some options cannot be used so.
    if pids:
        argv = ["ps", *arguments, f"-q{','.join(map(str, sorted(pids)))}"]
        named = await process.run(argv, env=_environ(), timeout=_SECONDS, check=False)
        if named.status == 0:
            return named.stdout.decode("utf-8", "replace")
    result = await process.run(["ps", *arguments], env=_environ(), timeout=_SECONDS, check=False)
    if result.status != 0:
        first = result.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise Failed(f"ps: {first or f'exit status {result.status}'}")
    return result.stdout.decode("utf-8", "replace")


def parse(output: str, pids: Collection[int]) -> pb.TopResponse:
    """Returns titles and the rows of these processes, with their threads' ("-" for a pid). Pure.

    Raises Failed "Couldn't find PID field in ps output".
    """
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Failed("Couldn't find PID field in ps output")
    column = titles.index("PID")
    response = pb.TopResponse(titles=titles)
    ours = False
    for line in lines[1:]:
        fields = line.split()
        if len(fields) <= column:
            continue
        if fields[column] != "-":
            ours = fields[column].isdigit() and int(fields[column]) in pids
        if ours:
            columns = [*fields[: len(titles) - 1], " ".join(fields[len(titles) - 1 :])]
            response.processes.append(pb.TopProcess(columns=columns))
    return response
