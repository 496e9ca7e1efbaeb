"""`docker top`: ps(1) of the host, its lines filtered by the container's processes."""

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
    result = await process.run(["ps", *ps_args.split()], timeout=20, check=False)
    if result.status != 0:
        raise Failed(f"ps: {result.stderr.decode('utf-8', 'replace').strip() or f'exit status {result.status}'}")
    response = parse(result.stdout.decode("utf-8", "replace"), processes(container.cgroup))
    await container.publish("top")
    return response


def parse(output: str, pids: Collection[int]) -> pb.TopResponse:
    """Returns titles and the rows of these processes. Pure. Raises Failed "Couldn't find PID field in ps output"."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Failed("Couldn't find PID field in ps output")
    column = titles.index("PID")
    response = pb.TopResponse(titles=titles)
    for line in lines[1:]:
        fields = line.split()
        if len(fields) > column and fields[column].isdigit() and int(fields[column]) in pids:
            columns = [*fields[: len(titles) - 1], " ".join(fields[len(titles) - 1 :])]
            response.processes.append(pb.TopProcess(columns=columns))
    return response
