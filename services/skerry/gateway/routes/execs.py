"""Execs: create, start, resize, inspect."""

import base64
from typing import Any

import grpc.aio
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.api.containers.v1 import execs_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import call as once
from skerry.core.rpc.channel import call_again
from skerry.gateway import detach
from skerry.gateway.call import Call, Route, empty, json
from skerry.gateway.docker import golang
from skerry.gateway.docker.shapes import EXEC, EXEC_START
from skerry.gateway.hijack import Taken, take_over
from skerry.gateway.peers import Peers
from skerry.gateway.pump import Place, Pump, new_hold
from skerry.gateway.routes.attach import stream_type

_REMEMBERED = 256


def _console(given: list[int] | None) -> tuple[int, int]:
    return (given[0], given[1]) if given and len(given) == 2 else (0, 0)


async def create(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/exec."""
    given = golang.parse(await call.json_body(), EXEC, "ExecConfig")
    if not given.get("Cmd"):
        raise InvalidArgument("No exec command specified")
    detach.parse(given.get("DetachKeys", ""))
    height, width = _console(given.get("ConsoleSize"))
    spec = pb.ExecSpec(
        cmd=given["Cmd"],
        env=given.get("Env", []),
        user=given.get("User", ""),
        working_dir=given.get("WorkingDir", ""),
        tty=given.get("Tty", False),
        attach_stdin=given.get("AttachStdin", False),
        attach_stdout=given.get("AttachStdout", False),
        attach_stderr=given.get("AttachStderr", False),
        privileged=given.get("Privileged", False),
        detach_keys=given.get("DetachKeys", ""),
        console_height=height,
        console_width=width,
    )
    request = pb.CreateExecRequest(container=call.params["id"], spec=spec)
    # Not idempotent: a record made twice would be harmless, but the first would stay in inspect's ExecIDs.
    answer = await once(lambda: call.peers.execs.CreateExec(request))
    made = call.peers.execs_made
    made[answer.exec.id] = spec
    if len(made) > _REMEMBERED:
        del made[next(iter(made))]
    return json({"Id": answer.exec.id}, 201)


class ExecSession:
    """An exec that is started and joined."""

    def __init__(self, peers: Peers, opening: pb.ExecOpen) -> None:
        self._peers = peers
        self._opening = opening

    def open(self) -> Any:
        """Returns a new call."""
        return self._peers.execs.StartExec()

    def opening(self, place: Place | None) -> pb.StartExecRequest:
        """Returns the first request."""
        opening = pb.ExecOpen()
        opening.CopyFrom(self._opening)
        if place is not None:
            opening.offset = place.offset
            if place.sequence is not None:
                opening.sequence = place.sequence
        return pb.StartExecRequest(open=opening)

    def stdin(self, data: bytes) -> pb.StartExecRequest:
        """Returns input."""
        return pb.StartExecRequest(stdin=data)

    def stdin_end(self) -> pb.StartExecRequest:
        """Returns the end of input."""
        return pb.StartExecRequest(stdin_end=containers_pb2.StdinEnd())


async def start(call: Call) -> web.StreamResponse:
    """POST /exec/{id}/start: joins it over the hijacked connection, or starts it detached."""
    body = await call.body()
    given = golang.parse(body, EXEC_START, "ExecStartCheck") if body.strip() else {}
    height, width = _console(given.get("ConsoleSize"))
    opening = pb.ExecOpen(id=call.params["id"], detach=given.get("Detach", False), console_height=height, console_width=width)
    if "Tty" in given:
        opening.tty = given["Tty"]
    if opening.detach:
        await _start_detached(call, opening)
        return empty(200)
    opening.hold = new_hold()
    spec = await _spec(call, opening.id)
    keys = detach.parse(spec.detach_keys)
    pump = Pump(ExecSession(call.peers, opening), resume_at=0)
    with call.peers.stream():
        try:
            await pump.begin()
            stream = await take_over(call.request, stream_type(call.version, pump.tty))
            await pump.run(stream, stdin=spec.attach_stdin, once=True, detach_keys=keys)
            await stream.finish()
        finally:
            pump.cancel()
    return Taken()


async def _spec(call: Call, exec_id: str) -> pb.ExecSpec:
    """Returns what an exec was made with. Raises NotFound."""
    if (made := call.peers.execs_made.pop(exec_id, None)) is not None:
        return made
    request = pb.GetExecRequest(id=exec_id)
    return (await call_again(lambda: call.peers.execs.GetExec(request), what="the container service")).exec.spec


async def _start_detached(call: Call, opening: pb.ExecOpen) -> None:
    stream = call.peers.execs.StartExec()
    await stream.write(pb.StartExecRequest(open=opening))
    while await stream.read() is not grpc.aio.EOF:
        pass


async def resize(call: Call) -> web.StreamResponse:
    """POST /exec/{id}/resize."""
    height, width = size(call)
    request = pb.ResizeExecRequest(id=call.params["id"], height=height, width=width)
    await call_again(lambda: call.peers.execs.ResizeExec(request), what="the container service")
    return empty(200)


def size(call: Call) -> tuple[int, int]:
    """Returns ?h= and ?w=. Raises InvalidArgument in Go's words."""
    values = []
    for name in ("h", "w"):
        text = call.text(name)
        if not text.isascii() or not text.isdigit() or int(text) >= 2**32:
            raise InvalidArgument(f'invalid resize {"height" if name == "h" else "width"}: "{text}": invalid syntax')
        values.append(int(text))
    return values[0], values[1]


async def inspect(call: Call) -> web.StreamResponse:
    """GET /exec/{id}/json."""
    request = pb.GetExecRequest(id=call.params["id"])
    record = (await call_again(lambda: call.peers.execs.GetExec(request), what="the container service")).exec
    spec = record.spec
    cmd = list(spec.cmd)
    process: dict[str, Any] = {"tty": spec.tty, "entrypoint": cmd[0] if cmd else "", "arguments": cmd[1:], "privileged": spec.privileged}
    if spec.user:
        process["user"] = spec.user
    return json(
        {
            "ID": record.id,
            "Running": record.running,
            "ExitCode": record.exit_code if record.HasField("exit_code") else None,
            "ProcessConfig": process,
            "OpenStdin": spec.attach_stdin,
            "OpenStderr": spec.attach_stderr,
            "OpenStdout": spec.attach_stdout,
            "CanRemove": False,  # Docker sets it minutes after the end, just before it forgets the record
            "ContainerID": record.container_id,
            "DetachKeys": base64.b64encode(detach.parse(spec.detach_keys) if spec.detach_keys else b"").decode(),
            "Pid": record.pid,
        }
    )


ROUTES: list[Route] = [
    ("POST", "/containers/{id}/exec", create),
    ("POST", "/exec/{id}/start", start),
    ("POST", "/exec/{id}/resize", resize),
    ("GET", "/exec/{id}/json", inspect),
]
