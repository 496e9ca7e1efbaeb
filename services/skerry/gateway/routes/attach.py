"""POST /containers/{id}/attach."""

from contextlib import nullcontext
from typing import Any

from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import Conflict
from skerry.core.rpc.channel import call_again
from skerry.gateway import detach
from skerry.gateway.call import Call, Route
from skerry.gateway.hijack import Taken, take_over
from skerry.gateway.peers import Peers
from skerry.gateway.pump import Place, Pump
from skerry.gateway.versions import STREAM_CONTENT_TYPES, Version

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

_ATTACHABLE = frozenset({pb.STATUS_RUNNING, pb.STATUS_PAUSED})
_TRIES = 20


def stream_type(version: Version, tty: bool) -> str:
    """Returns the content type of a stream of output."""
    return MULTIPLEXED if version >= STREAM_CONTENT_TYPES and not tty else RAW


class AttachSession:
    """An attach to a container's own process. run: the one that is attached to; keep: it is attached to before its start."""

    def __init__(self, peers: Peers, opening: pb.AttachOpen, run: int, *, keep: bool) -> None:
        self._peers = peers
        self._opening = opening
        self._run = run
        self._keep = keep

    def open(self) -> Any:
        """Returns a new call."""
        return self._peers.containers.Attach()

    def opening(self, place: Place | None) -> pb.AttachRequest:
        """Returns the first request."""
        opening = pb.AttachOpen()
        opening.CopyFrom(self._opening)
        if place is not None:
            opening.offset = place.offset
            if place.sequence is not None:
                opening.sequence = place.sequence
            opening.run = self._run
            opening.keep = self._keep
            opening.replay = False
        return pb.AttachRequest(open=opening)

    def stdin(self, data: bytes) -> pb.AttachRequest:
        """Returns input."""
        return pb.AttachRequest(stdin=data)

    def stdin_end(self) -> pb.AttachRequest:
        """Returns the end of input."""
        return pb.AttachRequest(stdin_end=pb.StdinEnd())


async def attach(call: Call) -> web.StreamResponse:
    """Joins the container's streams over the hijacked connection."""
    keys = detach.parse(call.text("detachKeys"))
    container = await call.container()
    status = container.state.status
    if status == pb.STATUS_PAUSED:
        raise Conflict(f"container {call.params['id']} is paused, unpause the container before attach")
    if status == pb.STATUS_RESTARTING:
        raise Conflict(f"container {call.params['id']} is restarting, wait until the container is running")
    stdin = call.flag("stdin") and container.spec.open_stdin
    opening = pb.AttachOpen(
        id=container.id,
        stdin=stdin,
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        replay=call.flag("logs"),
        stream=call.flag("stream"),
    )
    await call.body()
    before_start = status not in _ATTACHABLE
    session = AttachSession(call.peers, opening, container.state.run + before_start, keep=before_start)
    pump = Pump(session, 0 if opening.replay else await _resume_at(call, container))
    with call.peers.stream():
        try:
            with call.peers.joining(container.id) if before_start else nullcontext():
                await pump.begin()
                stream = await take_over(call.request, stream_type(call.version, pump.tty))
                await pump.run(stream, stdin=stdin, once=container.spec.stdin_once, detach_keys=keys)
                await stream.flush()
            await stream.finish()
        finally:
            pump.cancel()
    return Taken()


async def _resume_at(call: Call, container: pb.Container) -> int:
    """Returns where the output to come begins. A container that never ran has written nothing: no need to ask."""
    if container.state.run == 0:
        return 0
    request = pb.GetSpoolRequest(id=container.id)
    return (await call_again(lambda: call.peers.containers.GetSpool(request), what="the container service")).end_offset


ROUTES: list[Route] = [("POST", "/containers/{id}/attach", attach)]
